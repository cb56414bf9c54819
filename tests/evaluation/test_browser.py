"""The report in a real browser: a moment's address opens the player at its second."""

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest

from components.core.recipe import load_recipe
from components.core.tables import read_table
from components.evaluation import scores
from components.evaluation.__main__ import SPLIT
from components.evaluation.content import Content
from components.evaluation.moments import ranked_moments
from components.evaluation.write import moment_pictures, write_report
from components.tasks.classification.model import load_model
from components.tasks.classification.samples import load_samples

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --remote-debugging-pipe"
).split()
STATE = """(() => { const v = document.querySelector("#player video"), d = document.getElementById("player");
  if (!d) return { ready: 0, open: false, fault: false };
  return { t: v.currentTime, ready: v.readyState, seeking: v.seeking, open: d.open, hash: location.hash,
           title: document.getElementById("player-title").textContent, width: v.videoWidth,
           fault: !d.querySelector(".fault").hidden }; })()"""


class Browser:
    """Chromium over its debugging pipe: JSON messages that end with a zero byte, on descriptors 3 and 4."""

    def __init__(self, profile):
        ours_in, its_out = os.pipe()
        its_in, ours_out = os.pipe()
        command = f'exec "$0" "$@" 3<&{its_in} 4>&{its_out}'
        arguments = ["/bin/bash", "-c", command, CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(
            arguments, pass_fds=(its_in, its_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(its_in)
        os.close(its_out)
        self._read, self._write = os.fdopen(ours_in, "rb", 0), os.fdopen(ours_out, "wb", 0)
        self._held, self._count, self._session = b"", 0, None
        page = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]

    def call(self, method, **params):
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self):
        while b"\0" not in self._held:
            part = self._read.read(1 << 16)
            assert part, "the browser ended"
            self._held += part
        message, _, self._held = self._held.partition(b"\0")
        return json.loads(message)

    def evaluate(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def state_when(self, ready, seconds=15):
        """The player's state as soon as `ready(state)`, or the last one seen."""
        end = time.monotonic() + seconds
        while True:
            state = self.evaluate(STATE)
            if ready(state) or time.monotonic() > end:
                return state
            time.sleep(0.05)

    def close(self):
        try:
            self._session = None
            self.call("Browser.close")
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            self._read.close()
            self._write.close()


@contextmanager
def browser(profile):
    one = Browser(profile)
    try:
        yield one
    finally:
        one.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: the report is not opened in a browser")
def test_a_moments_address_opens_the_player_at_its_second(workspace, tmp_path):
    recipe = load_recipe("made")
    model, samples = load_model(workspace / "data/made/model"), load_samples(recipe, SPLIT)
    catalog = read_table(workspace / "data/made/catalog").to_pylist()
    assets = scores.scored_assets(samples, model.predict(samples), catalog, recipe.task, 0.4375)
    moments = ranked_moments([(asset.seconds, asset.scores) for asset in assets], 12, 0.3)
    pictures = moment_pictures("made", assets, moments)
    content = Content(recipe, assets, scores.measured(assets, catalog, 0.4375), moments, pictures, "0123456789ab")
    report = workspace / "report"
    write_report(report, content)
    transcoded = next(moment for moment in moments if assets[moment.asset].name == "gate.mpg" and moment.seconds > 0)
    playable = next(moment for moment in moments if assets[moment.asset].name == "hall.mp4" and moment.seconds > 0)

    def at(moment):
        return lambda state: (
            state["ready"] >= 2 and not state["seeking"] and abs(state["t"] - moment.seconds) < 0.005
            and state["title"] == assets[moment.asset].name
        )  # fmt: skip

    with browser(tmp_path / "profile") as page:
        page.call("Page.navigate", url=f"{(report / 'index.html').as_uri()}#moment-{transcoded.rank}")
        state = page.state_when(at(transcoded))
        assert at(transcoded)(state) and state["open"] and state["width"] == 96 and not state["fault"], state
        # another one, by choosing its picture; the address follows
        page.evaluate("document.querySelector('[data-do=close]').click()")
        assert not page.state_when(lambda state: not state["open"])["open"]
        page.evaluate(f"document.querySelector('.card[data-moment=\"{playable.rank}\"]').click()")
        state = page.state_when(at(playable))
        assert at(playable)(state) and state["open"] and state["hash"] == f"#moment-{playable.rank}", state
        # and by the buttons, to the last and no further
        for _ in moments:
            page.evaluate("document.querySelector('[data-do=next]').click()")
        state = page.state_when(at(moments[-1]))
        assert at(moments[-1])(state) and state["hash"] == f"#moment-{len(moments)}", state
        # a missing copy is said, not a black box
        for video in (report / "videos").iterdir():
            video.unlink()
        page.call("Page.reload")
        assert page.state_when(lambda state: state["fault"])["fault"]
