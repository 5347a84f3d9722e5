// One name: why it was judged so, and everything that was seen of it.

import { ApiError, download, get, inPath, send, type Finding, type History, type NameInfo, type Note, type Sightings } from "../api";
import { bars, lines, strip } from "../charts";
import { card, h, outside, replace, table, whole, type Child } from "../dom";
import { count, percent, plural, seconds, time, words } from "../format";
import { announce, type Context } from "../main";
import { alertIn, nameLink, stateSelect, verdict } from "../parts";

const CLAIMS: Record<string, string> = {
  single_flux: "its addresses rotate over unrelated networks as flux does, and no benign explanation fits",
  double_flux: "its addresses rotate as flux does, and so do those of its zone's name servers",
  ns_flux: "the addresses of its zone's name servers rotate as flux does",
  ambiguous: "it rotates like flux and like a benign service; DNS alone cannot tell",
  not_flux: "it was seen often enough, without rotation over networks",
  insufficient: "not enough was seen to say anything, which is not the same as clean",
};

/** 198.18.0.9 before 198.18.0.10. */
const NUMERIC = new Intl.Collator("en", { numeric: true });
/** Of these verdicts are a network's names. */
const MEMBERS = new Set(["single_flux", "double_flux", "ns_flux", "ambiguous"]);
interface NetworksOf { state: "working" | "ready" | "unavailable"; message: string | null; networks: { id: string; n_names: number; n_agents: number }[] }

export async function show({ me, params, rest, main, signal }: Context): Promise<void> {
  const scan = params.get("scan");
  const query = scan ? `?scan=${scan}` : "";
  const path = inPath(rest);
  let info: NameInfo;
  try {
    info = await get<NameInfo>(`names/${path}${query}`, signal);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    return unknown(rest, error.message, me.live, query, main);
  }
  const { finding } = info;
  document.title = `${finding.name} – unflux`;
  const may = me.role !== "read";
  const pictures = h("div", { class: "grid", "aria-busy": "true" }, h("p", { class: "about" }, "Reading the sightings …"));
  const network = h("span", { role: "status" });
  replace(main, head(info, may, query, network), h("div", { class: "grid" },
    h("div", { class: "stack" }, why(finding), clients(finding)),
    h("div", { class: "stack" }, explanations(finding), notes(finding.name, info.notes, may))), pictures);
  const history = await get<History>(`history/${path}${query}`, signal);
  const raw = await sightings(path, query, signal);
  const { worldMap } = await import("../map");
  if (signal.aborted) return;
  replace(pictures, ...picturesOf(history, finding, query.slice(1), worldMap), raw);
  pictures.removeAttribute("aria-busy");
  if (MEMBERS.has(finding.verdict)) await networkOf(finding.name, query, network, signal);
}

/** Which network it belongs to; asked for last, as it may have to be worked out first. */
async function networkOf(name: string, query: string, into: HTMLElement, signal: AbortSignal): Promise<void> {
  const path = `networks?${new URLSearchParams({ has: name, brief: "true" })}${query.replace("?", "&")}`;
  let answer = await get<NetworksOf>(path, signal);
  while (answer.state === "working") {
    replace(into, "Its network is being worked out …");
    await new Promise((done) => setTimeout(done, 2000));
    if (signal.aborted) return;
    answer = await get<NetworksOf>(path, signal);
  }
  replace(into, answer.state === "unavailable" ? answer.message : answer.networks.length
    ? ["Network ", answer.networks.map((one, at) => [at ? ", " : "",
        h("a", { href: `#/networks/${encodeURIComponent(one.id)}${query}` }, outside(one.id)),
        ` of ${plural(one.n_names, "name")} and ${plural(one.n_agents, "address", "addresses")}`])]
    : "It belongs to no network that is known.");
}

/** A name that is not among the findings: alerts of a watch may be ahead of the dataset. */
function unknown(name: string, message: string, live: boolean, query: string, main: HTMLElement): void {
  const part = name.split(".").slice(-2).join(".");
  document.title = `${name} – unflux`;
  replace(main, h("div", { class: "card narrow", role: "alert" },
    h("h1", { class: "name" }, outside(name)),
    h("p", {}, `Nothing is known of it here: ${message}.`),
    live ? h("p", {}, "If a watch told of it: the dataset does not have yet what the watch saw. All of the alert is on the ", h("a", { href: "#/live" }, "live page"), ".") : null,
    h("p", {}, h("a", { href: `#/findings?${new URLSearchParams({ q: part })}${query.replace("?", "&")}` }, "Names with ", outside(part)), " · ", h("a", { href: "#/findings" }, "all findings"))));
}

function head({ finding, triage }: NameInfo, may: boolean, query: string, network: HTMLElement): HTMLElement {
  const save = (what: string, path: string): HTMLElement => {
    const button = h("button", { type: "button", class: "quiet", onClick: async () => {
      try {
        await download(path, "unflux-name.ndjson");
        announce(`${what} is saved`);
      } catch (error) {
        alertIn(button.parentElement!, error);
      }
    } }, what);
    return button;
  };
  return h("div", { class: "title" },
    h("h1", { class: "name" }, outside(finding.name)),
    h("p", { class: "about" }, verdict(finding.verdict),
      ` score ${finding.score.toFixed(2)} · confidence ${finding.confidence} · seen ${time(finding.first_seen)} … ${time(finding.last_seen)} UTC · `,
      finding.registered_domain
        ? ["domain ", h("a", { href: `#/findings?${new URLSearchParams({ q: `domain:${finding.registered_domain}` })}` }, outside(finding.registered_domain))]
        : "no registered domain"),
    h("div", { class: "bar" },
      h("span", { class: "field" }, "Triage ", stateSelect(finding.name, triage, may, (state) => announce(`Triage: ${state}`))),
      save("Save passive DNS (COF)", `cof/${inPath(finding.name)}${query}`), network));
}

function places({ n_asns, n_countries }: Finding): string {
  const known = [n_asns === null ? null : plural(n_asns, "origin AS", "origin ASes"), n_countries === null ? null : plural(n_countries, "country", "countries")].filter((one) => one !== null);
  return known.length ? ` in ${known.join(" and ")}` : "";
}

function why(finding: Finding): HTMLElement {
  const spread = finding.n_addresses
    ? ` It had ${plural(finding.n_addresses, "address", "addresses")}${places(finding)}, with a TTL of up to ${seconds(finding.ttl_max_s)}.`
    : "";
  return card("Why", null,
    h("p", {}, h("b", {}, `Judged ${words(finding.verdict)}`), `: ${CLAIMS[finding.verdict] ?? ""}.${spread}`),
    h("ul", { class: "reasons" }, ...finding.reasons.map((one) => h("li", {},
      h("meter", { min: 0, max: 0.4, value: one.weight, "aria-label": `Share of the score: ${percent(one.weight)}` }),
      h("span", {}, one.says),
      h("small", {}, one.weight ? percent(one.weight) : "for information")))),
    finding.blind_spots.length
      ? h("div", { class: "blind" }, h("h3", {}, "What was not seen"), h("ul", {}, ...finding.blind_spots.map((one) => h("li", {}, one))))
      : null,
    h("p", { class: "about" }, `Detector ${finding.detector.id}, version ${finding.detector.version}`));
}

function explanations(finding: Finding): HTMLElement {
  return card("Benign explanations tried", null,
    finding.benign_explanations.length
      ? h("ul", { class: "tried" }, ...finding.benign_explanations.map((one) => h("li", { class: one.match ? "fits" : null },
          h("span", { class: "mark" }, one.match ? "fits" : "no"), h("span", {}, h("b", {}, words(one.name)), `: ${one.says}`))))
      : h("p", {}, "This detector tries none."));
}

function picturesOf(
  history: History, finding: Finding, scan: string,
  worldMap: (rows: History["spread"]["countries"], what: string) => HTMLElement,
): Child[] {
  const out: Child[] = [];
  const { strip: own, ns_strip: ns } = history;
  const aliases = history.aliases.length
    ? ["It is an alias of ", ...history.aliases.flatMap((one, at) => [at ? ", " : "", nameLink(one, scan)]), "."] : null;
  if (own.bins && own.rows.length) {
    const hidden = own.n_addresses - own.rows.length;
    out.push(whole(card("Which address answered when",
      `${plural(own.n_addresses, "address", "addresses")}, a row each in order of first sight; a mark is a fresh answer within ${seconds(own.bins.size_s)}, the colour its origin AS. Rotation climbs like a staircase; a fixed pool fills its rows.`,
      aliases ? h("p", {}, ...aliases) : null,
      strip(own, "Addresses of the name"),
      hidden > 0 ? h("p", { class: "about" }, `${plural(hidden, "address", "addresses")} that answered least are left out.`) : null,
      addressTable("Addresses as a table", own, finding))));
  } else {
    out.push(whole(card("Which address answered when", null, aliases ? h("p", {}, ...aliases) : null,
      h("p", {}, "No addresses of this name were seen."))));
  }
  if (ns.bins && ns.rows.length) {
    out.push(whole(card("Its name servers' addresses",
      `The layer below: ${plural(history.name_servers.length, "name server")} of ${history.zone ?? "its zone"}, ${plural(ns.n_addresses, "address", "addresses")}. In double flux they rotate too.`,
      strip(ns, "Addresses of its name servers"),
      h("details", {}, h("summary", {}, "Name servers as a table"), table("Name servers", ["Host", ["Addresses", "number"], "First named", "Last named"],
        history.name_servers.map((one) => [outside(one.host), count(one.n_addresses), time(one.first_seen), time(one.last_seen)]))),
      addressTable("Addresses as a table", ns, null))));
  }
  if (moments(history.accumulation) > 1) {
    const { pool } = history;
    const about = pool
      ? `${count(pool.observed)} addresses seen, ${count(pool.once)} of them once: a fixed pool would hold about ${count(pool.estimate)} (${count(pool.low)}–${count(pool.high)}, 95 %). A pool that changes keeps climbing.`
      : "Too few addresses for an estimate of the pool.";
    out.push(card("New addresses over time", about,
      lines(`Distinct addresses over time, up to ${own.n_addresses}. ${about}`, history.accumulation,
        [{ name: "distinct addresses", of: (point) => point.distinct, step: "end", area: true }],
        { unit: "addresses", band: pool && pool.high < pool.observed * 50
          ? { from: pool.low, to: pool.high, at: pool.estimate, name: `estimate ${count(pool.estimate)}` } : null })));
  }
  if (history.ttl.length > 1) {
    const longest = Math.max(...history.ttl.map((one) => one.max_s));
    out.push(card("TTL", "Shortest and longest TTL of its address records by hour, as received: below a cache they age.",
      lines(`TTL of address records by hour, at most ${seconds(longest)}`, history.ttl,
        [{ name: "longest", of: (one) => one.max_s }, { name: "shortest", of: (one) => one.min_s }], { unit: "s" })));
  }
  if (history.spread.ases.length) {
    const top = history.spread.ases.slice(0, 12);
    const label = (one: (typeof top)[number]): string =>
      one.origin_asn === null ? "AS unknown" : `AS${one.origin_asn} ${one.organisation ?? ""}`;
    out.push(card("Origin ASes", history.spread.n_ases ? `${plural(history.spread.n_ases, "origin AS", "origin ASes")}; those with most addresses.` : "The table of ASes does not have its addresses.",
      bars(`Addresses by origin AS: ${top.slice(0, 5).map((one) => `${label(one)} ${one.n}`).join(", ")}`,
        top.map((one) => ({ name: label(one), n: one.n })), "addresses"),
      history.spread.ases.length > 12 ? h("details", {}, h("summary", {}, "All as a table"),
        table("Origin ASes", ["AS", "Organisation", ["Addresses", "number"]],
          history.spread.ases.map((one) => [one.origin_asn === null ? "?" : `AS${one.origin_asn}`, outside(one.organisation), count(one.n)]))) : null));
    const located = history.spread.countries.some((one) => one.country !== null);
    out.push(card("Countries", located ? "Where its addresses are, by the country table." : "The table of countries does not have its addresses.",
      !located ? null : worldMap(history.spread.countries, "addresses"),
      h("details", {}, h("summary", {}, "As a table"), table("Countries", ["Country", ["Addresses", "number"]],
        history.spread.countries.map((one) => [one.country ?? "?", count(one.n)])))));
  }
  if (history.activity.length > 1) {
    out.push(card("Asked for", "Responses and failures by hour.",
      lines("Responses and failures by hour", history.activity.map((one) => ({ ...one, time: one.bucket })),
        [{ name: "responses", of: (one) => one.responses }, { name: "failures", of: (one) => one.failures }], { unit: "", height: 160 })));
  }
  out.push(card("Names with the same addresses", history.sharing.length
    ? `${plural(history.sharing.length, "other name")}${history.sharing.length === 200 ? " and more" : ""}; shared hosting and CDNs share too.` : null,
    history.sharing.length
      ? table("Names with the same addresses", ["Name", ["Addresses", "number"], "Verdict"],
          history.sharing.map((one) => [one.verdict ? nameLink(one.name, scan) : outside(one.name), count(one.n),
            one.verdict ? verdict(one.verdict) : h("small", {}, "not judged by itself")]), "tall")
      : h("p", {}, "None of its addresses was seen with another name.")));
  return out;
}

/** Different times among points: with one alone there is no curve. */
const moments = (points: { time: string }[]): number => new Set(points.map((one) => one.time)).size;

function addressTable(title: string, which: History["strip"], finding: Finding | null): HTMLElement {
  const evidence = new Map(finding?.agents.map((one) => [one.address, one.evidence]));
  return h("details", {}, h("summary", {}, title), table(title,
    ["Address", "AS", "Organisation", "Country", ...(finding ? ["Evidence"] : []), ["Fresh", "number"], "First seen", "Last seen"],
    which.rows.map((one) => [
      h("a", { href: `#/findings?${new URLSearchParams({ q: `ip:${one.address}` })}` }, outside(one.address, "mono")),
      one.origin_asn === null ? "?" : h("a", { href: `#/findings?${new URLSearchParams({ q: `asn:${one.origin_asn}` })}` }, `AS${one.origin_asn}`),
      outside(one.organisation), one.country ?? "?",
      ...(finding ? [evidence.get(one.address) ?? "–"] : []),
      count(one.fresh), time(one.first_seen), time(one.last_seen),
    ]), "tall"));
}

function clients(finding: Finding): HTMLElement {
  return card("Clients who asked", finding.n_clients ? `${plural(finding.n_clients, "client")}; up to 64 are kept for each hour and type.` : null,
    finding.n_clients
      ? h("ul", { class: "columns mono" }, ...[...finding.clients].sort(NUMERIC.compare).map((one) => h("li", {}, outside(one))))
      : h("p", {}, "None is known: the input has no clients, or they were dropped."));
}

function notes(name: string, list: Note[], may: boolean): HTMLElement {
  const items = h("ul", { class: "notes" });
  const one = (note: Note): HTMLElement => {
    const item = h("li", {}, h("p", {}, outside(note.text)), h("small", {}, outside(note.by), ` · ${time(note.at)} `),
      may ? h("button", { type: "button", class: "quiet", "aria-label": "Remove this note", onClick: async () => {
        try {
          await send("DELETE", `note/${note.id}/${inPath(name)}`);
          item.remove();
        } catch (error) {
          alertIn(item, error);
        }
      } }, "remove") : null);
    return item;
  };
  items.append(...list.map(one));
  const text = h("textarea", { id: "note", rows: 3, maxlength: 4000, required: true });
  const form = h("form", { onSubmit: async (event: Event) => {
    event.preventDefault();
    try {
      items.append(one(await send<Note>("POST", `notes/${inPath(name)}`, { text: text.value })));
      text.value = "";
      announce("The note is kept");
    } catch (error) {
      alertIn(form, error);
    }
  } }, h("label", { for: "note" }, "New note"), text, h("button", { type: "submit" }, "Add"));
  return card("Notes", null, list.length || may ? items : h("p", {}, "None."), may ? form : null);
}

async function sightings(path: string, query: string, signal: AbortSignal): Promise<HTMLElement> {
  const size = 50;
  const body = h("div", {});
  const load = async (page: number): Promise<void> => {
    const found = await get<Sightings>(`sightings/${path}?page=${page}&size=${size}${query.replace("?", "&")}`, signal);
    const pages = Math.ceil(found.total / size);
    const turn = (to: number, title: string, label: string): HTMLElement => h("button", {
      type: "button", class: "quiet", "aria-label": label, disabled: to < 1 || to > pages,
      onClick: () => void load(to).catch((error: unknown) => alertIn(body, error)),
    }, title);
    replace(body,
      table("Sightings", ["Type", "Record", "First seen", "Last seen", ["Fresh", "number"], ["All", "number"], "TTL", "Side"],
        found.sightings.map((one) => [String(one.rdtype), outside(String(one.rdata), "mono break"), time(String(one.time_first)), time(String(one.time_last)),
          count(one.count as number), count(one.count_raw as number),
          one.ttl_max === null ? "?" : one.ttl_min === one.ttl_max ? seconds(one.ttl_max as number) : `${one.ttl_min}–${one.ttl_max} s`, String(one.vantage)])),
      pages > 1 ? h("div", { class: "pager", role: "group", "aria-label": "Pages of sightings" }, turn(page - 1, "‹", "Page before"),
        h("span", {}, `page ${count(page)} of ${count(pages)}`), turn(page + 1, "›", "Next page")) : null);
  };
  await load(1);
  return whole(card("Sightings", "As they are kept: a row for each record, hour and side of the cache.", body));
}
