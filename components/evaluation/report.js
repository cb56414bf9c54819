// Opens the player at a moment. The address says which (#moment-3), so a moment can be sent to somebody as a link.
(() => {
  const { moments, videos } = JSON.parse(document.getElementById("data").textContent);
  const dialog = document.getElementById("player");
  const video = dialog.querySelector("video"), picture = dialog.querySelector(".stage img");
  const title = document.getElementById("player-title"), caption = document.getElementById("player-caption");
  const strip = document.getElementById("player-strip"), fault = dialog.querySelector(".fault");
  const [previous, next] = ["previous", "next"].map((name) => dialog.querySelector(`[data-do=${name}]`));
  let current = null, wanted = null, span = 1;

  const clock = (s) => {
    const tenths = Math.round(s * 10), minutes = Math.floor(tenths / 600);
    const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
    return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
  };

  // A millisecond into the frame: rounded down, its very first instant would still show the frame before it.
  function seek() {
    if (wanted !== null && video.readyState >= 1) { video.currentTime = wanted + 0.001; wanted = null; }
  }

  function open(asset, seconds) {
    const { name, src, span: length } = videos[asset];
    fault.hidden = true; picture.hidden = true; video.hidden = false;
    title.textContent = name; span = length; wanted = seconds;
    const address = new URL(src, location.href).href;
    if (video.src !== address) video.src = address;
    video.pause(); seek();
    const row = document.querySelector(`.strip[data-asset="${CSS.escape(asset)}"]`);
    strip.replaceChildren(...[...row.children].map((child) => child.cloneNode(true)));
    const head = document.createElement("i");
    head.className = "playhead"; strip.append(head); strip.dataset.asset = asset;
    move(seconds);
    if (!dialog.open) dialog.showModal();
    video.focus({ preventScroll: true });
  }

  function move(seconds) {
    const head = strip.querySelector(".playhead");
    if (head) head.style.left = `${Math.min(100, 100 * seconds / span)}%`;
  }

  function moment(rank) {
    const one = moments[rank - 1];
    if (!one) return;
    current = rank;
    if (one.picture) {
      video.pause(); video.hidden = true; picture.hidden = false; strip.replaceChildren(); fault.hidden = true;
      picture.src = document.querySelector(`.card[data-moment="${rank}"] img`).src; picture.alt = one.alt;
      title.textContent = one.alt;
      if (!dialog.open) dialog.showModal();
    } else {
      open(one.asset, one.t);
      for (const pin of strip.querySelectorAll(".pin")) pin.classList.toggle("now", +pin.dataset.moment === rank);
    }
    const noun = one.picture ? "Picture" : "Moment", when = one.picture ? "" : ` at ${clock(one.t)}`;
    caption.textContent = `${noun} ${rank} of ${moments.length}${when}: ${one.caption}`;
    previous.disabled = rank === 1; next.disabled = rank === moments.length;
    if (location.hash !== `#moment-${rank}`) history.replaceState(null, "", `#moment-${rank}`);
  }

  function place(asset, seconds) {
    current = null; open(asset, seconds);
    caption.textContent = `At ${clock(seconds)}`;
    previous.disabled = next.disabled = true;
  }

  function follow() {
    const found = /^#moment-(\d+)$/.exec(location.hash);
    if (found) moment(+found[1]); else if (dialog.open && location.hash) dialog.close();
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-moment]");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) { event.preventDefault(); moment(+link.dataset.moment); return; }
    const line = event.target.closest(".strip.live");
    if (line && videos[line.dataset.asset]) {
      const box = line.getBoundingClientRect(), one = videos[line.dataset.asset];
      place(line.dataset.asset, Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * one.span);
      return;
    }
    if (event.target === dialog) dialog.close();
    const action = event.target.closest("[data-do]");
    if (action) ({ close: () => dialog.close(), previous: () => moment(current - 1), next: () => moment(current + 1) })[action.dataset.do]();
  });
  dialog.addEventListener("keydown", (event) => {
    if (current === null || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft" && current > 1) { event.preventDefault(); moment(current - 1); }
    if (event.key === "ArrowRight" && current < moments.length) { event.preventDefault(); moment(current + 1); }
  }, true);
  dialog.addEventListener("close", () => {
    if (dialog.open) return; // opened again before this event came
    video.pause();
    if (/^#moment-/.test(location.hash)) history.replaceState(null, "", location.pathname + location.search);
  });
  video.addEventListener("loadedmetadata", seek);
  video.addEventListener("timeupdate", () => move(video.currentTime));
  video.addEventListener("seeking", () => move(video.currentTime));
  video.addEventListener("error", () => {
    fault.hidden = false;
    fault.textContent = `${video.getAttribute("src")} cannot be played: it must lie beside this page.`;
  });
  addEventListener("hashchange", follow);
  follow();
})();
