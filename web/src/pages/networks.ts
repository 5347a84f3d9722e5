// Flux networks: names that draw from the same hosts.

import type { EChartsCoreOption } from "echarts/core";
import { get } from "../api";
import { bars, figure, inks, lines, tooltip } from "../charts";
import { card, h, outside, replace, shown, table, whole, type Child } from "../dom";
import { count, percent, plural, seconds, time } from "../format";
import type { Context } from "../main";
import { nameLink, notYet, verdict } from "../parts";

interface Size { estimate: number | null; low: number | null; high: number | null; window_h: number | null; method: string; note?: string; stay_h?: number | null }
interface Member { name: string; verdict: string; score: number; sub_network: number; first_seen: string | null; last_seen: string | null }
interface NetAgent { address: string; role: string; evidence: string; n_names: number; origin_asn: number | null; organisation: string | null; country: string | null; first_seen: string; last_seen: string }
interface GraphNode { label: string; kind: string; x: number; y: number; group: number | null; note: string }
interface Graph { nodes: GraphNode[]; edges: [number, number][]; n_left_out: number }
interface Network {
  id: string; kind?: string; n_names: number; n_agents: number; names: Member[]; agents: NetAgent[]; graph: Graph;
  layers: { layer: string; n_groups: number; n_addresses: number }[];
  sub_networks: { names: string[]; n_agents: number; size: Size }[];
  size: Size; growth?: { from_s: number; hours: number; seen: number[]; new: number[]; total: number[]; new_per_h: number | null; by_hour_of_day: number[] | null };
  rotation_s?: number | null; ns_rotation_s?: number | null; countries?: Record<string, number>; asns?: Record<string, number>;
  sleepers?: { name: string; verdict: string; why: string }[]; overlaps?: { network: string; n_common: number; share: number }[];
  roles?: Record<string, number>; lifetime?: { n: number; n_gone: number; median_h: number | null; survival: [number, number][] };
  delegations?: { zones: number; by_public_suffix: Record<string, number>; ns_changes: number; glue_addresses: number; changes: { zone: string; at: string; ns_added: string[]; ns_removed: string[] }[] };
  history?: string[]; first_seen: string | null; last_seen: string | null;
}
/** A network in the table of all. */
interface Brief {
  id: string; kind: string; n_names: number; n_agents: number; size: Size; roles: Record<string, number>; names: Member[];
  n_sub_networks: number; n_asns: number; n_countries: number; rotation_s: number | null; ns_rotation_s: number | null; last_seen: string | null;
}
interface Answer<One> { state: "working" | "ready" | "unavailable"; message: string | null; networks: One[] }

const POLL_MS = 2000;
const SHOWN_AGENTS = 500;

export async function show({ params, rest, main, signal }: Context): Promise<void> {
  const scan = params.get("scan");
  const query = scan ? `?scan=${scan}` : "";
  const asked = new URLSearchParams(rest ? { has: rest } : { brief: "true" });
  if (scan) asked.set("scan", scan);
  let answer = await get<Answer<Network | Brief>>(`networks?${asked}`, signal);
  while (answer.state === "working") {
    replace(main, notYet("Networks", "Being worked out from the sightings …"));
    await new Promise((done) => setTimeout(done, POLL_MS));
    if (signal.aborted) return;
    answer = await get<Answer<Network | Brief>>(`networks?${asked}`, signal);
  }
  if (answer.state === "unavailable") {
    replace(main, notYet("Networks", answer.message ?? "Networks are not available."));
    return;
  }
  if (!rest) return showAll(answer.networks as Brief[], main, query);
  const [one] = answer.networks as Network[];
  if (!one) {
    replace(main, notYet("Networks", `No network is called ${rest} any more, or has it.`), h("p", {}, h("a", { href: `#/networks${query}` }, "All networks")));
    return;
  }
  const { worldMap } = await import("../map");
  if (!signal.aborted) showOne(one, main, query, worldMap);
}

function sizeOf(size: Size): string {
  if (size.estimate === null) return "no estimate";
  return `${count(Math.round(size.estimate))} (${count(Math.round(size.low ?? 0))}–${count(Math.round(size.high ?? 0))})`;
}

const rolesOf = (roles: Record<string, number> | undefined): string => Object.entries(roles ?? {}).map(([role, n]) => `${count(n)} ${role}`).join(", ");

/** At most a dozen of them, the first and the last among these. */
function thinned<One>(all: One[]): One[] {
  const step = Math.max(1, Math.ceil((all.length - 1) / 11));
  return all.filter((_, at) => at % step === 0 || at === all.length - 1);
}

/** A share that is there is never 0 %. */
const share = (part: number): string => (part > 0 && part < 0.01 ? "under 1 %" : percent(part));

function showAll(networks: Brief[], main: HTMLElement, query: string): void {
  replace(main, h("div", { class: "title" }, h("h1", {}, "Networks"),
    h("p", { class: "about" }, `${plural(networks.length, "network")} of names that draw from the same hosts`)),
    networks.length
      ? h("div", { class: "card" }, table("Networks", ["Network", ["Kind", "wide"], ["Names", "number wide"], ["For example", "wrap wide"], ["Agents", "number wide"], ["At a time", "number wide"], ["ASes, countries", "number wide"], ["Sub-nets", "number wide"], ["Rotation", "number wide"], ["Last seen", "wide"]],
          networks.map((one) => [[h("a", { href: `#/networks/${encodeURIComponent(one.id)}${query}`, class: "name" }, outside(one.id)), h("span", { class: "narrow-only" }, verdict(one.kind)), h("small", { class: "narrow-only" }, `${plural(one.n_names, "name")}, such as `, outside(one.names[0]?.name), `; at a time: ${sizeOf(one.size)}`)],
            verdict(one.kind), count(one.n_names), [one.names.slice(0, 2).flatMap((name, at) => [at ? ", " : "", nameLink(name.name, query.slice(1))]), one.n_names > 2 ? " …" : ""],
            h("span", { title: rolesOf(one.roles) }, count(one.n_agents)), sizeOf(one.size), `${count(one.n_asns)}, ${count(one.n_countries)}`, count(one.n_sub_networks),
            one.rotation_s === null && one.ns_rotation_s !== null ? `NS ${seconds(one.ns_rotation_s)}` : seconds(one.rotation_s), time(one.last_seen)])))
      : h("p", { class: "empty" }, "No network: no names were judged flux, or they share nothing."));
}

function showOne(
  one: Network, main: HTMLElement, query: string,
  worldMap: (rows: { country: string | null; n: number }[], what: string) => HTMLElement,
): void {
  const scan = query.slice(1);
  const { size } = one;
  const cards: Child[] = [];
  cards.push(graph(one));
  cards.push(card("Size and churn", null,
    h("dl", { class: "facts" },
      ...([
        ["Addresses at a time", size.estimate === null ? "no estimate" : `${sizeOf(size)}, 95 %${size.window_h ? `, within ${size.window_h} h` : ""} (${size.method})`],
        ["Addresses seen", `${count(one.n_agents)} (${rolesOf(one.roles)})`],
        ["An address stays", size.stay_h ? `${size.stay_h} h (mean)` : "not known"],
        ["Half of them are gone", one.lifetime?.median_h ? `after ${one.lifetime.median_h} h (of ${count(one.lifetime.n)} whose beginning was seen)` : one.lifetime?.n ? "not within the time that was watched" : "not known: all were there from the first hour on"],
        ["New addresses", one.growth?.new_per_h != null ? `${one.growth.new_per_h} an hour` : "not known"],
        ["Answers change after", seconds(one.rotation_s)],
        ["Name servers change after", seconds(one.ns_rotation_s)],
      ] as [string, string][]).flatMap(([title, text]) => [h("dt", {}, title), h("dd", {}, text)])),
    size.note ? h("p", { class: "about" }, size.note) : null));
  const growth = one.growth;
  if (growth && growth.hours > 1) {
    const points = growth.total.map((total, at) => ({ time: new Date((growth.from_s + at * 3600) * 1000).toISOString(), total, seen: growth.seen[at], fresh: growth.new[at] }));
    cards.push(card("Members over time", "Distinct addresses by hour, those never seen before, and all so far.",
      lines(`Addresses by hour; ${growth.total.at(-1)} in all`, points, [
        { name: "so far", of: (point) => point.total, area: true }, { name: "in the hour", of: (point) => point.seen }, { name: "new", of: (point) => point.fresh },
      ], { unit: "addresses" })));
  }
  const survival = thinned(one.lifetime?.survival ?? []);
  if (survival.length > 2) {
    const last = survival.at(-1)!;
    cards.push(card("How long addresses stay", "Per cent still in use so many hours after their first answer (Kaplan-Meier; those of the first hour are left out).",
      bars(`Per cent of addresses still in use, ${Math.round(last[1] * 100)} after ${last[0]} h`, survival.map(([hours, part]) => ({ name: `${hours} h`, n: Math.round(part * 100) })), "%")));
  }
  const day = growth?.by_hour_of_day;
  if (day) cards.push(card("Hours of the day", "Distinct addresses an hour, mean, by hour of the day (UTC).",
    bars(`Addresses by hour of the day, ${Math.min(...day)} to ${Math.max(...day)}`, day.map((n, hour) => ({ name: `${hour} h`, n: Math.round(n) })), "addresses")));
  const countries = Object.entries(one.countries ?? {}).map(([country, n]) => ({ country: /^[A-Z]{2}$/.test(country) ? country : null, n }));
  const asns = Object.entries(one.asns ?? {}).slice(0, 12).map(([asn, n]) => ({ name: /^\d+$/.test(asn) ? `AS${asn}` : asn, n }));
  if (asns.length) cards.push(card("Origin ASes", null, bars(`Addresses by origin AS: ${asns.slice(0, 5).map((as) => `${as.name} ${as.n}`).join(", ")}`, asns, "addresses")));
  if (countries.length) cards.push(card("Countries", "Where its addresses are, by the country table.", worldMap(countries, "addresses")));
  cards.push(card("Sub-networks", "Names whose addresses come from one pool.",
    table("Sub-networks", ["", ["Names", "wrap"], ["Agents", "number"], ["At a time", "number"]],
      one.sub_networks.map((sub, at) => [String(at + 1), sub.names.slice(0, 8).flatMap((name, place) => [place ? ", " : "", nameLink(name, scan)]).concat(sub.names.length > 8 ? [` and ${sub.names.length - 8} more`] : []),
        count(sub.n_agents), sizeOf(sub.size)]))));
  cards.push(card("Layers", "How each kind of link alone divides the names.", table("Layers", ["Layer", ["Groups", "number"], ["Addresses", "number"]],
    one.layers.map((layer) => [layer.layer, count(layer.n_groups), count(layer.n_addresses)]))));
  const zones = one.delegations;
  if (zones?.zones) cards.push(card("Delegations", `What registries see: ${plural(zones.zones, "zone")} (${Object.entries(zones.by_public_suffix).map(([suffix, n]) => `${n} under ${suffix}`).join(", ")}), ${plural(zones.ns_changes, "change")} of NS, ${plural(zones.glue_addresses, "address", "addresses")} of name servers.`,
    zones.changes.length ? table("Changes of NS", ["Time", "Zone", ["Gone", "wrap"], ["New", "wrap"]],
      zones.changes.map((change) => [time(change.at), outside(change.zone, "break"), outside(change.ns_removed.join(", "), "break"), outside(change.ns_added.join(", "), "break")]), "tall") : null));
  cards.push(whole(card("Names", one.n_names > one.names.length ? `The first ${count(one.names.length)} of ${count(one.n_names)}.` : plural(one.n_names, "name"), table("Names", ["Name", "Verdict", ["Score", "number"], ["Sub-network", "number"], "First seen", "Last seen"],
    one.names.map((name) => [nameLink(name.name, scan), verdict(name.verdict), name.score.toFixed(2), String(name.sub_network + 1), time(name.first_seen), time(name.last_seen)]), "tall"))));
  cards.push(whole(card("Agents", `${count(Math.min(one.n_agents, SHOWN_AGENTS))} of ${plural(one.n_agents, "address", "addresses")} of other people's machines, victims: notify their networks, do not block them.`,
    table("Agents", ["Address", "Role", "Evidence", ["Names", "number"], "AS", "Organisation", "Country", "First seen", "Last seen"],
      one.agents.slice(0, SHOWN_AGENTS).map((agent) => [outside(agent.address, "mono"), agent.role, agent.evidence, count(agent.n_names),
        agent.origin_asn === null ? "?" : `AS${agent.origin_asn}`, outside(agent.organisation), agent.country ?? "?", time(agent.first_seen), time(agent.last_seen)]), "tall"),
    one.n_agents > SHOWN_AGENTS ? h("p", { class: "about" }, "All of them: export csv-agents of its names, or unflux networks --json.") : null)));
  if (one.sleepers?.length) cards.push(card("Names that may join", "They do not rotate (yet) but hang on the network.",
    table("Names that may join", ["Name", "Verdict", "Why"], one.sleepers.map((name) => [nameLink(name.name, scan), verdict(name.verdict), name.why]), "tall")));
  if (one.overlaps?.length) cards.push(card("Other networks with the same addresses", null, table("Overlaps", ["Network", ["Addresses", "number"], ["Share", "number"]],
    one.overlaps.map((other) => [h("a", { href: `#/networks/${encodeURIComponent(other.network)}${query}` }, outside(other.network)), count(other.n_common), share(other.share)]))));
  if (one.history?.length) cards.push(card("History", null, h("ul", {}, ...one.history.map((line) => h("li", {}, outside(line))))));
  replace(main, h("div", { class: "title" }, h("h1", { class: "name" }, outside(one.id)),
    h("p", { class: "about" }, one.kind ? verdict(one.kind) : null, ` ${plural(one.n_names, "name")} · ${plural(one.n_agents, "address", "addresses")} · seen ${time(one.first_seen)} … ${time(one.last_seen)} UTC · `,
      h("a", { href: `#/networks${query}` }, "all networks"))),
    h("div", { class: "grid" }, ...cards));
}

/** Names around, addresses where their names pull them: placed by the server, so nothing moves. */
function graph(one: Network): HTMLElement {
  const { nodes, edges, n_left_out } = one.graph;
  if (!edges.length) return whole(card("Graph", null, h("p", {}, "No links between names and addresses are known.")));
  const names = nodes.filter((node) => node.kind === "name").length;
  const label = `Graph: ${names} names in ${one.sub_networks.length} sub-networks around ${nodes.length - names} addresses; a line means that the name was answered with the address. The tables below have the same.`;
  const options = (width: number): EChartsCoreOption => {
    const colours = inks();
    const wide = width > 700;
    const colour = (node: GraphNode): string =>
      node.kind === "name" ? colours.series[(node.group ?? 0) % 9] : node.kind === "web" ? colours.muted : colours.accent;
    return {
      tooltip: { ...tooltip(), formatter: (item: { dataType: string; dataIndex: number }) => {
        const node = nodes[item.dataIndex];
        return item.dataType !== "node" ? "" : shown(node.kind === "name" ? `${node.label}\nsub-network ${(node.group ?? 0) + 1}` : `${node.label}\n${node.kind}, ${node.note}`);
      } },
      series: [{
        type: "graph", layout: "none", roam: "move", left: wide ? 180 : 70, right: wide ? 180 : 70, top: 16, bottom: 16, preserveAspect: true,
        emphasis: { focus: "adjacency", lineStyle: { width: 1.5, opacity: 0.9 } },
        lineStyle: { color: colours.muted, curveness: 0, opacity: 0.22, width: 0.8 },
        data: nodes.map((node, at) => ({
          id: String(at), name: shown(node.label), x: 100 * node.x, y: 100 * node.y,
          symbolSize: node.kind === "name" ? 13 : 6, symbol: node.kind === "dns" ? "diamond" : "circle", itemStyle: { color: colour(node) },
          label: { show: node.kind === "name" && names <= 40, position: node.x >= 0 ? "right" : "left", color: colours.ink, fontSize: wide ? 11 : 9,
            width: wide ? 165 : 62, overflow: "truncate" },
        })),
        links: edges.map(([name, agent]) => ({ source: String(name), target: String(agent) })),
      }],
    };
  };
  const about = `Names around, coloured by sub-network; addresses inside, near the names that have them (diamonds: addresses of name servers).${n_left_out ? ` ${count(n_left_out)} more names and addresses are not drawn.` : ""}`;
  return whole(card("Graph", about, figure(label, Math.min(560, innerWidth), options)));
}
