#!/usr/bin/env python3
"""The page at `/` in a browser, by keyboard alone: chromium without a window, driven over its debugging protocol. Skipped where
chromium or aiohttp (make deps-dev: .deps/clients) is missing.

usage: check_page.py [FOLDER]      (screenshots are left in FOLDER; BUILD names the build folder)
"""
import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
venv = ROOT / ".deps" / "clients" / "bin" / "python"
if venv.exists() and not os.environ.get("REWARD_CLIENTS"):
    os.environ["REWARD_CLIENTS"] = "1"
    os.execv(venv, [str(venv), *sys.argv])
try:
    import aiohttp
except ImportError as e:
    print(f"{e}; make deps-dev installs it")
    sys.exit(77)
if not shutil.which("chromium"):
    print("chromium is not installed")
    sys.exit(77)
sys.path.insert(0, str(ROOT / "tests"))
import tiny_model

REWARD = ROOT / os.environ.get("BUILD", "build") / "reward"
KEYS = {"Tab": (9, None), "Enter": (13, "\r"), " ": (32, " ")}
FOCUS = """(e => e.getAttribute("aria-label") || (e.labels && e.labels.length ? e.labels[0].textContent : e.textContent.trim().slice(0, 40)))
           (document.activeElement)"""
work = Path(tempfile.mkdtemp())


class Browser:
    def __init__(self, socket):
        self.socket, self.sent, self.events = socket, 0, []

    async def __call__(self, method, **params):
        self.sent += 1
        await self.socket.send_json({"id": self.sent, "method": method, "params": params})
        while True:
            answer = await self.socket.receive_json(timeout=60)
            if answer.get("id") == self.sent:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    async def value(self, expression):
        return (await self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True))["result"].get("value")

    async def press(self, key, modifiers=0):
        code, text = KEYS[key]
        await self("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, modifiers=modifiers, **({"text": text} if text else {}))
        await self("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code, modifiers=modifiers)

    async def tab_to(self, name):
        for _ in range(30):
            if await self.value(FOCUS) == name:
                return
            await self.press("Tab")
        raise AssertionError(f"Tab does not come to {name!r}")

    async def write(self, name, text):
        await self.tab_to(name)
        await self("Input.insertText", text=text)

    async def until(self, expression):
        for _ in range(200):
            if await self.value(expression):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{expression} does not come: {await self.value('document.body.innerText')}")

    async def looks(self, name, width, dark=False):
        """As wide as that, nothing is cut off."""
        await self("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
        await self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        assert await self.value("document.documentElement.scrollWidth <= innerWidth"), f"{name}: wider than {width}"
        back = await self.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)")
        assert (back < 200) == dark, f"{name}: a background of {back}"
        if len(sys.argv) > 1:
            shot = await self("Page.captureScreenshot", format="png", captureBeyondViewport=True)
            (Path(sys.argv[1]) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


async def use(b, url, want):
    result = "document.getElementById('result').innerText"
    for part in "Page", "Runtime", "Network":
        await b(part + ".enable")
    await b("Page.navigate", url=url)
    await b.until("document.readyState === 'complete' && document.getElementById('key-box').hidden === false")
    await b.write("Text of this turn", "What is 2+2?")
    assert await b.value("document.querySelector('#turns button').disabled"), "the only turn can be removed"
    await b.write("Response A", "4")
    await b.write("Response B", "It is five, I think.")
    await b.press("Enter", modifiers=2)
    await b.until(f"{result}.includes('the server')")  # no key yet
    await b.write("Key of this server", "sesame")
    await b.press("Tab")
    await b.until("document.getElementById('model').options.length === 2 && !document.getElementById('model-box').hidden")
    await b.write("Response A", "")
    await b.press("Enter", modifiers=2)
    await b.until(f"{result}.includes('preferred')")
    text = await b.value(result)
    best = max(range(2), key=lambda i: want[i])
    assert text.startswith("AB"[best] + " is preferred") and all(f"{x:.6g}" in text for x in want[:2]), (text, want)
    await b.looks("two", 1280)
    await b.looks("two-dark", 1280, dark=True)
    await b.tab_to("Add a response")
    await b.press(" ")
    await b("Input.insertText", text="Four.")
    await b.tab_to("Compare")
    await b.press("Enter")
    await b.until(f"{result}.includes('Response C')")
    assert await b.value(FOCUS) == "Compare" and f"{want[2]:.6g}" in await b.value(result)
    await b.looks("three-narrow", 360)
    await b.looks("three-narrow-dark", 360, dark=True)
    await b.tab_to("Add a turn before")
    await b.press("Enter")
    await b("Input.insertText", text="Hello.")
    assert await b.value("[...document.querySelectorAll('#turns select')].map(s => s.value).join()") == "assistant,user"
    await b.write("Response B", "x" * 5000)
    await b.press("Enter", modifiers=2)
    await b.until(f"{result}.startsWith('Response B: ')")
    await b.looks("turns", 360)
    thrown = [e for e in b.events if e.get("method") == "Runtime.exceptionThrown"]
    asked = [e["params"]["request"]["url"] for e in b.events if e.get("method") == "Network.requestWillBeSent"]
    assert not thrown and len(asked) >= 6 and all(u.startswith(url) for u in asked), (thrown, asked)


async def main(url, want):
    browser = subprocess.Popen(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0",
                                f"--user-data-dir={work / 'profile'}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ports = work / "profile" / "DevToolsActivePort"
        for _ in range(600):
            if ports.exists() and len(ports.read_text().split()) == 2:
                break
            await asyncio.sleep(0.1)
        at = "http://127.0.0.1:" + ports.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            pages = await (await session.get(at + "/json")).json()
            page = next(p for p in pages if p["type"] == "page")
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                await use(Browser(socket), url, want)
    finally:
        browser.terminate()
        browser.wait(30)


tiny_model.make(work / "rm")
tiny_model.make(work / "other", 9)
row = json.dumps({"prompt": "What is 2+2?", "responses": ["4", "It is five, I think.", "Four."]}).encode()
scored = json.loads(subprocess.run([REWARD, "score", "--model", work / "rm", "-q"], input=row, capture_output=True, check=True).stdout)
server = subprocess.Popen([REWARD, "serve", "--model", work / "rm", "--model", work / "other", "--listen", "127.0.0.1:0", "-q", "--api-key-env", "PAGE_KEY"],
                          stdout=subprocess.PIPE, env={**os.environ, "PAGE_KEY": "sesame"})
try:
    asyncio.run(main(server.stdout.readline().decode().strip() + "/", scored["scores"]))
finally:
    server.terminate()
    server.wait(30)
    shutil.rmtree(work, ignore_errors=True)
print("the page compares, by keyboard alone, wide, narrow and dark")
