"use strict";
(() => {
  const list = document.getElementById("pairs");
  if (!list) return;
  const at = (id) => document.getElementById(id);
  const items = [...list.children], first = 10;
  const texts = new Map(items.map((item) => [item, item.textContent.toLowerCase()]));
  let all = items.length <= first;
  const show = () => {
    const which = at("which").value, key = at("order").value, wanted = at("find").value.trim().toLowerCase();
    const sign = key === "gap" ? -1 : 1;
    const kept = items.filter((item) =>
      (!which || (which === "class" ? item.dataset.class === "1" : item.dataset.side === which)) &&
      texts.get(item).includes(wanted));
    kept.sort((a, b) => sign * (Number(a.dataset[key]) - Number(b.dataset[key])));
    const shown = all ? kept : kept.slice(0, first);
    list.replaceChildren(...shown);
    at("count").value = `${shown.length} of ${kept.length}`;
    at("more").hidden = shown.length === kept.length;
    at("more").textContent = `Show all ${kept.length}`;
  };
  for (const [value, test] of [["higher", "side"], ["lower", "side"], ["class", "class"]]) {
    const used = items.some((item) => (test === "class" ? item.dataset.class === "1" : item.dataset.side === value));
    if (!used) at("which").querySelector(`[value="${value}"]`).remove();
  }
  at("tools").addEventListener("input", show);
  at("tools").addEventListener("submit", (event) => event.preventDefault());
  at("more").addEventListener("click", () => {
    all = true;
    const next = list.lastElementChild;
    show();
    if (next && next.nextElementSibling) {
      next.nextElementSibling.tabIndex = -1;
      next.nextElementSibling.focus();
    }
  });
  window.addEventListener("beforeprint", () => { all = true; show(); });
  at("tools").hidden = false;
  show();
})();
