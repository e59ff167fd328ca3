// Keeps a page current: fetches it again and puts the new main part in the place of the old.
"use strict";

(() => {
  const main = document.getElementById("main");
  const announce = document.getElementById("announce");

  const statuses = (root) =>
    new Map([...root.querySelectorAll("[data-key]")].map((e) => [e.dataset.key, e.dataset.status]));

  const changes = (before, after) =>
    [...after].filter(([key, status]) => before.has(key) && before.get(key) !== status)
      .map(([key, status]) => `${key} is now ${status}`);

  // Where the keyboard is must survive the exchange.
  const place = () => {
    const active = document.activeElement;
    const link = active && active.closest && active.closest("a[href]");
    return link && main.contains(link) ? link.getAttribute("href") : null;
  };

  const scrolls = () => [...main.querySelectorAll(".scroll")].map((e) => e.scrollLeft);

  const exchange = (fresh) => {
    const focused = place();
    const offsets = scrolls();
    const said = changes(statuses(main), statuses(fresh));
    main.replaceChildren(...fresh.childNodes);
    main.querySelectorAll(".scroll").forEach((e, n) => { e.scrollLeft = offsets[n] || 0; });
    const again = focused && [...main.querySelectorAll("a[href]")].find((a) => a.getAttribute("href") === focused);
    if (again) again.focus({ preventScroll: true });
    if (said.length) announce.textContent = said.join(", ");
  };

  const refresh = async () => {
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("main");
        if (fresh && fresh.innerHTML !== main.innerHTML) exchange(fresh);
        main.dataset.liveSeconds = (fresh && fresh.dataset.liveSeconds) || "";
      }
      document.body.classList.toggle("stale", !answer.ok);
    } catch {
      document.body.classList.add("stale");
    }
  };

  const loop = async () => {
    const seconds = Number(main.dataset.liveSeconds);
    if (!seconds) return;
    if (!document.hidden) await refresh();
    setTimeout(loop, seconds * 1000);
  };

  if (main && main.dataset.liveSeconds) setTimeout(loop, Number(main.dataset.liveSeconds) * 1000);
})();
