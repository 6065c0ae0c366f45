import pytest
from tests import factories as make

@pytest.mark.django_db(transaction=True)
def test_look(new_page):
    u = make.person("administrator","auditor","security", name="Rea Reader With A Long Name")
    s = make.active_server(title="Weather for everybody in the company", owner=u)
    page = new_page(u, viewport={"width":390,"height":844})
    page.goto("/audit"); page.screenshot(path=f"/tmp/h-audit-light.png")
    print(page.evaluate("(() => {const e=document.querySelector('.flush.scroll'); return [e.scrollWidth,e.clientWidth]})()"))
    page = new_page(u); page.goto("/audit"); page.screenshot(path="/tmp/h-audit-wide.png")
