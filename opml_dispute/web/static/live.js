"use strict";
// Keeps an open page up to date: clocks every second, everything else when the server says that it has changed.
(() => {
  let since = performance.now();

  function words(seconds) {
    const d = Math.floor(seconds / 86400), h = Math.floor(seconds / 3600) % 24;
    const m = Math.floor(seconds / 60) % 60, s = seconds % 60;
    if (seconds < 60) return `${s} s`;
    if (seconds < 3600) return `${m} min${s ? ` ${s} s` : ""}`;
    if (seconds < 86400) return `${h} h${m ? ` ${m} min` : ""}`;
    return `${d} d${h ? ` ${h} h` : ""}`;
  }

  function tick() {
    const passed = Math.floor((performance.now() - since) / 1000);
    for (const clock of document.querySelectorAll("[data-left]")) {
      const text = words(Math.max(0, Number(clock.dataset.left) - passed));
      if (clock.textContent !== text) clock.textContent = text;
    }
  }

  function say(state, text) {
    const sign = document.getElementById("live");
    if (!sign) return;
    sign.hidden = false;
    sign.dataset.state = state;
    sign.lastElementChild.textContent = text;
  }

  let busy = false, again = false;
  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok) { say("lost", "cannot be read"); return; }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      show(fresh);
    } catch {
      say("lost", "not connected");
    } finally {
      busy = false;
      if (again) { again = false; refresh(); }
    }
  }

  function show(fresh) {
    const old = document.getElementById("main"), main = fresh.getElementById("main");
    if (!main) return;
    for (const details of old.querySelectorAll("details[id]")) {
      const same = main.querySelector(`#${CSS.escape(details.id)}`);
      if (same) same.open = details.open;
    }
    const boxes = [...old.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    const focused = document.activeElement?.closest("[id]")?.id;
    const known = new Set([...old.querySelectorAll("li.claim")].map((claim) => claim.id));
    const before = old.dataset.summary;
    old.replaceWith(document.adoptNode(main));
    main.querySelectorAll(".scroll").forEach((box, index) => { box.scrollLeft = boxes[index] ?? 0; });
    for (const claim of main.querySelectorAll("li.claim")) {
      if (known.size && !known.has(claim.id)) claim.classList.add("new");
    }
    if (focused && focused !== "main") document.getElementById(focused)?.querySelector("a,summary")?.focus({ preventScroll: true });
    const block = fresh.querySelector(".block");
    if (block) document.querySelector(".block")?.replaceWith(document.adoptNode(block));
    document.title = fresh.title;
    since = performance.now();
    if (main.dataset.summary !== before) document.getElementById("announce").textContent = main.dataset.summary;
    say("on", "live");
    later();
  }

  function later() {
    if (document.getElementById("main").dataset.again) setTimeout(refresh, 700);
  }

  function listen() {
    const url = document.getElementById("main").dataset.events;
    if (!url) return;
    const source = new EventSource(url);
    source.addEventListener("ready", () => say("on", "live"));
    source.addEventListener("changed", refresh);
    source.onerror = () => {
      say("lost", "not connected");
      // The browser comes back by itself unless it was refused.
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
    };
  }

  setInterval(tick, 1000);
  listen();
  later();
})();
