// Draws the reference from our own OpenAPI description. The bundle comes with the sidecar package; nothing is fetched
// from another host, so its online validator stays off.
const place = document.getElementById("swagger-ui");

window.SwaggerUIBundle({
  url: place.dataset.schema,
  domNode: place,
  presets: [window.SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: false,
  docExpansion: "none",
  defaultModelsExpandDepth: -1,
  filter: true,
  tryItOutEnabled: false,
  validatorUrl: null,
  // It brings a second <main>; the page has one already.
  onComplete: () => place.querySelector("main")?.setAttribute("role", "presentation"),
});
