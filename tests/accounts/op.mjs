// A real OpenID provider for the tests: npm `oidc-provider`, with people whose groups and standing the tests change.
// POST /control {"account": "ines", "groups": [...], "disabled": false, "email": ..., "verified": true} sets what it
// says about somebody; {"account": ...} is added to what is known already.
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const { PORT, ALG, CLIENT_ID, CLIENT_SECRET, REDIRECTS, LOGOUTS, REFRESH, TOKEN_AUTH } = process.env;
const issuer = `http://127.0.0.1:${PORT}`;
const people = new Map();

const pair = ALG === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...pair.privateKey.export({ format: 'jwk' }), kid: `key-${PORT}`, use: 'sig', alg: ALG };

const account = (sub) => ({ groups: [], disabled: false, email: `${sub}@corp.example`, verified: true, name: sub, ...people.get(sub) });
const cookie = (name) => `${name}_${PORT}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: CLIENT_ID, client_secret: CLIENT_SECRET, redirect_uris: JSON.parse(REDIRECTS), response_types: ['code'],
    post_logout_redirect_uris: JSON.parse(LOGOUTS), token_endpoint_auth_method: TOKEN_AUTH,
    grant_types: REFRESH ? ['authorization_code', 'refresh_token'] : ['authorization_code'],
    id_token_signed_response_alg: ALG,
  }],
  jwks: { keys: [key] },
  pkce: { required: () => true },
  conformIdTokenClaims: false,
  cookies: { keys: ['local'], names: { interaction: cookie('interaction'), resume: cookie('resume'), session: cookie('session') } },
  scopes: ['openid', 'offline_access', 'email', 'profile', 'groups'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  findAccount: async (ctx, sub) => account(sub).disabled ? undefined : {
    accountId: sub,
    claims: async () => {
      const { email, verified, name, groups } = account(sub);
      return { sub, email, email_verified: verified, name, groups };
    },
  },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
});

provider.use(async (ctx, next) => {
  if (ctx.path !== '/control') return next();
  const parts = [];
  for await (const part of ctx.req) parts.push(part);
  const { account: sub, ...facts } = JSON.parse(Buffer.concat(parts).toString());
  people.set(sub, { ...people.get(sub), ...facts });
  ctx.body = account(sub);
});
provider.listen(Number(PORT), '127.0.0.1');
