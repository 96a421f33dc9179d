"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const form = by("filter");
  const lower = (text) => text.toLowerCase();
  const rows = all("#leases tbody tr").map((row) => ({ row, life: row.dataset.life, state: row.dataset.state, text: lower(row.textContent) }));
  const others = all("tr[data-life]:not([data-state])").map((row) => ({ row, life: row.dataset.life, text: lower(row.textContent) }));
  const lanes = all(".lane[data-lane]").map((lane) => ({
    lane, life: lane.dataset.lane, dense: "dense" in lane.dataset,
    bars: [...lane.querySelectorAll(".bar")].map((bar) => ({ bar, state: bar.dataset.state, text: lower(bar.querySelector("title").textContent) })),
  }));

  const apply = () => {
    const words = lower(by("find").value).split(/\s+/).filter(Boolean);
    const [life, state] = [by("life").value, by("state").value];
    const said = (text) => words.every((word) => text.includes(word));
    const show = (element, on) => element.classList.toggle("off", !on);
    let shown = 0;
    for (const one of rows) {
      const on = (!life || one.life === life) && (!state || one.state === state) && said(one.text);
      show(one.row, on);
      shown += on;
    }
    for (const one of others) show(one.row, (!life || one.life === life) && (said(one.text) || !one.row.hasAttribute("data-decision")));
    for (const { lane, life: own, dense, bars } of lanes) {
      let any = dense;
      for (const one of bars) {
        const on = (!state || one.state === state) && said(one.text);
        show(one.bar, on);
        any ||= on;
      }
      show(lane, any && (!life || own === life));
    }
    by("shown").textContent = shown === rows.length ? `all ${shown} leases` : `${shown} of ${rows.length} leases`;
  };

  if (rows.length > 0) {
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    // A reset event comes before the fields are reset.
    form.addEventListener("reset", () => setTimeout(apply));
    apply();
  }
})();
