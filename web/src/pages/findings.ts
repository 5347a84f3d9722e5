// The table of all findings: searched, sorted and paged by the server.

import { ApiError, download, get, send, STATES, type Findings, type Row, type Scan, type State } from "../api";
import { h, replace } from "../dom";
import { count, plural, seconds, time, words } from "../format";
import { announce, scanPicker, type Context } from "../main";
import { alertIn, nameLink, stateSelect, verdict } from "../parts";

const COLUMNS: { id: string; title: string; cls: string; cell: (row: Row) => string }[] = [
  { id: "addresses", title: "Addresses", cls: "number wide", cell: (row) => count(row.n_addresses) },
  { id: "asns", title: "ASes", cls: "number wide", cell: (row) => count(row.n_asns) },
  { id: "countries", title: "Countries", cls: "number wide", cell: (row) => count(row.n_countries) },
  { id: "ttl", title: "TTL", cls: "number wide", cell: (row) => seconds(row.ttl_max_s) },
  { id: "clients", title: "Clients", cls: "number wide", cell: (row) => count(row.n_clients) },
  { id: "last", title: "Last seen", cls: "wide nowrap", cell: (row) => time(row.last_seen) },
];
const HELP: [string, string][] = [
  ["pills", "part of the name"],
  ["name:*.pills.test", "pattern; without * the whole name"],
  ["domain:pills.test", "registered domain"],
  ["kind:double", "flux, single, double, ns, ambiguous, not_flux, insufficient"],
  ["score:>=0.8", "also addresses, asns, countries, ttl (s), clients"],
  ["asn:64500  country:BR  ip:198.18.0.1", "of an agent (flux and ambiguous names)"],
  ["last:>=2026-01-31T12:00", "or first; UTC"],
  ["triage:new  confidence:high", "new, watching, confirmed, benign; low, medium, high"],
  ["-triage:benign", "a minus turns a term round; all terms must hold"],
];

export async function show({ me, params, main, signal }: Context): Promise<void> {
  const q = params.get("q") ?? "";
  const sort = params.get("sort") ?? "score";
  const order = params.get("order") ?? "desc";
  const page = Number(params.get("page") ?? 1);
  const size = Number(params.get("size") ?? 50);
  const scan = params.get("scan");
  const may = me.role !== "read";

  const go = (change: Record<string, string | number | null>): void => {
    const next = new URLSearchParams(params);
    if (!("page" in change)) next.delete("page");
    for (const [key, value] of Object.entries(change)) {
      if (value === null || value === "") next.delete(key);
      else next.set(key, String(value));
    }
    location.hash = `#/findings${next.size ? `?${next}` : ""}`;
  };

  const input = h("input", {
    id: "q", type: "search", value: q, spellcheck: "false", autocomplete: "off", autocapitalize: "off",
    placeholder: "score:>=0.8 kind:double asn:64500", "aria-describedby": "q-says", "aria-keyshortcuts": "/",
  });
  const says = h("p", { id: "q-says", class: "alert", role: "alert", hidden: true });
  const form = h("form", { class: "search", role: "search", onSubmit: (event: Event) => {
    event.preventDefault();
    go({ q: input.value.trim() });
  } },
    h("label", { for: "q", class: "unseen" }, "Search findings"),
    input, h("button", { type: "submit" }, "Search"));
  const help: HTMLDetailsElement = h("details", { class: "help" }, h("summary", {}, "How to search"),
    h("dl", {}, ...HELP.flatMap(([term, means]) => [h("dt", {}, h("code", {}, term)), h("dd", {}, means)])));

  const query = new URLSearchParams({ q, sort, order, page: String(page), size: String(size) });
  if (scan) query.set("scan", scan);
  let found: Findings;
  const scans = get<{ scans: Scan[] }>("scans", signal);
  scans.catch(() => undefined); // said where it is waited for
  try {
    found = await get<Findings>(`findings?${query}`, signal);
  } catch (error) {
    if (!(error instanceof ApiError) || ![400, 422].includes(error.status)) throw error;
    says.hidden = false;
    replace(says, error.message);
    help.open = true;
    replace(main, h("div", { class: "title" }, h("h1", {}, "Findings")), form, says, help);
    input.focus();
    if (error.position !== null) input.setSelectionRange(error.position, input.value.length);
    return;
  }
  const picker = scanPicker((await scans).scans, found.scan, (id) => go({ scan: id }));
  if (signal.aborted) return;

  const chips = h("div", { class: "chips", role: "group", "aria-label": "By verdict" },
    ...Object.entries(found.by_verdict).map(([id, n]) => {
      const term = `kind:${id}`;
      const on = q.split(/\s+/).includes(term);
      return h("button", {
        type: "button", class: `chip ${id}`, "aria-pressed": String(on), disabled: n === 0 && !on,
        onClick: () => go({ q: on ? q.replace(term, "").trim() : `${q} ${term}`.trim() }),
      }, words(id), h("b", {}, count(n)));
    }));

  const boxes: HTMLInputElement[] = [];
  const chosen = (): string[] => boxes.filter((box) => box.checked).map((box) => box.value);
  const bulk = bulkTriage(chosen, () => go({ page }));
  const noteChoice = (): void => {
    const n = chosen().length;
    bulk.hidden = n === 0;
    replace(bulk.querySelector(".n")!, `${plural(n, "name")} chosen`);
  };

  const heading = (id: string, title: string, cls: string): HTMLElement => {
    const current = sort === id;
    const next = current ? (order === "desc" ? "asc" : "desc") : id === "name" ? "asc" : "desc";
    return h("th", { scope: "col", class: cls, "aria-sort": current ? (order === "desc" ? "descending" : "ascending") : null },
      h("button", { type: "button", class: "sort", onClick: () => go({ sort: id, order: next }) },
        title, h("span", { "aria-hidden": "true" }, current ? (order === "desc" ? " ↓" : " ↑") : "")));
  };
  const all = h("input", { type: "checkbox", "aria-label": "Choose all names of this page", onChange: () => {
    for (const box of boxes) box.checked = all.checked;
    noteChoice();
  } });
  const scanQuery = scan ? `scan=${scan}` : "";
  const table = h("table", { class: "findings" },
    h("caption", { class: "unseen" }, "Findings"),
    h("thead", {}, h("tr", {},
      may ? h("th", { scope: "col", class: "check" }, all) : null,
      heading("name", "Name and why", ""), heading("verdict", "Verdict", "wide"), heading("score", "Score", "number"),
      ...COLUMNS.map((one) => heading(one.id, one.title, one.cls)), heading("triage", "Triage", "wide"))),
    h("tbody", {}, ...found.findings.map((row) => {
      const box = h("input", { type: "checkbox", value: row.name, "aria-label": `Choose ${row.name}`, onChange: noteChoice });
      boxes.push(box);
      return h("tr", {},
        may ? h("td", { class: "check" }, box) : null,
        h("td", { class: "what" }, nameLink(row.name, scanQuery),
          row.n_notes ? h("span", { class: "tag" }, plural(row.n_notes, "note")) : null,
          h("span", { class: "narrow-only" }, verdict(row.verdict)),
          h("small", {}, row.why)),
        h("td", { class: "wide" }, verdict(row.verdict)),
        h("td", { class: "number" }, row.score.toFixed(2)),
        ...COLUMNS.map((one) => h("td", { class: one.cls }, one.cell(row))),
        h("td", { class: "wide" }, stateSelect(row.name, row.triage, may, (state) => announce(`${row.name}: ${state}`))));
    })));

  const result = found.total === 0
    ? h("p", { class: "empty" }, q
        ? "Nothing is like this. Take a term away, or look at all findings."
        : found.scan === null ? "Nothing was judged yet: upload a capture, or start with a dataset." : "No names were seen.")
    : h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of findings" }, table);
  const exports = exporter(me.exports, q, scan);
  replace(main,
    h("div", { class: "title" }, h("h1", {}, "Findings"),
      h("p", { class: "about" }, plural(found.total, "name"), found.scan
        ? [" · ", h("a", { href: `#/scan/${found.scan}` }, "what was read, and what could not be seen")] : null),
      picker),
    form, says, chips, help,
    h("div", { class: "bar" }, bulk, exports.form, pager(found, go)),
    exports.told,
    result,
    found.pages > 1 ? h("div", { class: "bar" }, pager(found, go)) : null);
  keyboard(input, main, signal);
}

function bulkTriage(chosen: () => string[], done: () => void): HTMLElement {
  const select = h("select", { "aria-label": "New state of the chosen names" },
    ...STATES.map((state) => h("option", { value: state }, state)));
  const bulk = h("form", { class: "field", hidden: true, onSubmit: async (event: Event) => {
    event.preventDefault();
    try {
      await send("POST", "triage", { names: chosen(), state: select.value as State });
      done();
      dispatchEvent(new HashChangeEvent("hashchange"));
    } catch (error) {
      alertIn(bulk, error);
    }
  } }, h("span", { class: "n" }), select, h("button", { type: "submit" }, "Set state"));
  return bulk;
}

function exporter(forms: Record<string, string>, q: string, scan: string | null): { form: HTMLElement; told: HTMLElement } {
  const told = h("p", { class: "told", role: "status" });
  const button = h("button", { type: "submit", class: "quiet" }, "Save");
  const select = h("select", { id: "export" },
    ...Object.entries(forms).map(([name, title]) => h("option", { value: name, title }, name)));
  const form = h("form", { class: "field", onSubmit: async (event: Event) => {
    event.preventDefault();
    const query = new URLSearchParams({ q, limit: "1000000" });
    if (scan) query.set("scan", scan);
    form.querySelector(":scope > .alert")?.remove();
    button.disabled = true;
    replace(told, `${select.value} is being made …`);
    try {
      const says = await download(`export/${select.value}?${query}`, `unflux.${select.value}`);
      replace(told, h("b", {}, `${select.value} is saved. `), says.map((one) => `${one[0].toUpperCase()}${one.slice(1).replace(/\.$/, "")}. `));
    } catch (error) {
      replace(told);
      alertIn(form, error);
    }
    button.disabled = false;
  } }, h("label", { for: "export" }, "Export all found as"), select, button);
  const about = (): void => replace(told, forms[select.value] ?? "");
  select.addEventListener("change", about);
  return { form, told };
}

function pager(found: Findings, go: (change: Record<string, number>) => void): HTMLElement {
  const { page, pages, size, total } = found;
  const button = (title: string, to: number, label: string): HTMLElement =>
    h("button", { type: "button", class: "quiet", "aria-label": label, disabled: to < 1 || to > pages || to === page, onClick: () => go({ page: to }) }, title);
  const first = Math.min((page - 1) * size + 1, total);
  return h("div", { class: "pager", role: "group", "aria-label": "Pages of the table" },
    button("«", 1, "First page"), button("‹", page - 1, "Page before"),
    h("span", {}, `${count(first)}–${count(Math.min(page * size, total))} of ${count(total)}`),
    button("›", page + 1, "Next page"), button("»", pages, "Last page"));
}

/** `/` goes to the search, j and k from name to name. */
function keyboard(input: HTMLInputElement, main: HTMLElement, signal: AbortSignal): void {
  addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
    if (event.key === "/") {
      event.preventDefault();
      input.focus();
      input.select();
    } else if (event.key === "j" || event.key === "k") {
      const links = [...main.querySelectorAll<HTMLElement>("td.what a")];
      const at = links.indexOf(document.activeElement as HTMLElement);
      links[Math.min(Math.max(at + (event.key === "j" ? 1 : -1), 0), links.length - 1)]?.focus();
    }
  }, { signal });
}

