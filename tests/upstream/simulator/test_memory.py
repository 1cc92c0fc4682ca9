import httpx

from app.upstream.simulator.server import create_app

PATH = "/v1/interactions"


async def test_the_least_recently_used_are_forgotten():
    transport = httpx.ASGITransport(create_app(capacity=2))
    headers = {"x-goog-api-key": "any"}
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator", headers=headers) as client:
        names = []
        for text in ("One", "Two", "Three"):
            names.append((await client.post(PATH, json={"model": "m", "input": text})).json()["id"])
            await client.get(f"{PATH}/{names[0]}")
        found = [(await client.get(f"{PATH}/{name}")).status_code for name in names]
    assert found == [200, 404, 200]
