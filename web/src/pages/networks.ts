// Flux networks: names that draw from the same hosts.

import type { EChartsCoreOption } from "echarts/core";
import { get } from "../api";
import { bars, figure, inks, lines, tooltip } from "../charts";
import { card, h, outside, replace, shown, table, type Child } from "../dom";
import { count, percent, plural, seconds, time, words } from "../format";
import type { Context } from "../main";
import { nameLink, notYet, verdict } from "../parts";

interface Size { estimate: number | null; low: number | null; high: number | null; window_h: number | null; method: string; note?: string; stay_h?: number | null }
interface Member { name: string; verdict: string; score: number; sub_network: number; first_seen: string | null; last_seen: string | null }
interface NetAgent { address: string; role: string; evidence: string; n_names: number; origin_asn: number | null; organisation: string | null; country: string | null; first_seen: string; last_seen: string }
interface Network {
  id: string; kind?: string; n_names: number; n_agents: number; names: Member[]; agents: NetAgent[]; links?: [number, number, number][];
  layers: { layer: string; n_groups: number; n_addresses: number }[];
  sub_networks: { names: string[]; n_agents: number; size: Size }[];
  size: Size; growth?: { from_s: number; hours: number; seen: number[]; new: number[]; total: number[]; new_per_h: number | null };
  rotation_s?: number | null; ns_rotation_s?: number | null; countries?: Record<string, number>; asns?: Record<string, number>;
  sleepers?: { name: string; verdict: string; why: string }[]; overlaps?: { network: string; n_common: number; share: number }[];
  history?: string[]; first_seen: string | null; last_seen: string | null;
}
interface Answer { state: "working" | "ready" | "unavailable"; message: string | null; networks: Network[] }

const MAX_NODES = 600;
const POLL_MS = 2000;

export async function show({ params, rest, main, signal }: Context): Promise<void> {
  const scan = params.get("scan");
  const query = scan ? `?scan=${scan}` : "";
  let answer = await get<Answer>(`networks${query}`, signal);
  while (answer.state === "working") {
    replace(main, notYet("Networks", "Being worked out from the sightings …"));
    await new Promise((done) => setTimeout(done, POLL_MS));
    if (signal.aborted) return;
    answer = await get<Answer>(`networks${query}`, signal);
  }
  if (answer.state === "unavailable") {
    replace(main, notYet("Networks", answer.message ?? "Networks are not available."));
    return;
  }
  const one = answer.networks.find((network) => network.id === rest);
  if (one) showOne(one, main, query);
  else showAll(answer.networks, main, query);
}

function sizeOf(size: Size): string {
  if (size.estimate === null) return "no estimate";
  return `${count(Math.round(size.estimate))} (${count(Math.round(size.low ?? 0))}–${count(Math.round(size.high ?? 0))})`;
}

function showAll(networks: Network[], main: HTMLElement, query: string): void {
  replace(main, h("div", { class: "title" }, h("h1", {}, "Networks"),
    h("p", { class: "about" }, `${plural(networks.length, "network")} of names that draw from the same hosts`)),
    networks.length
      ? h("div", { class: "card" }, table("Networks", ["Network", "Kind", ["Names", "number"], ["Agents seen", "number"], ["Agents at a time", "number"], ["Sub-networks", "number"], "Last seen"],
          networks.map((one) => [h("a", { href: `#/networks/${encodeURIComponent(one.id)}${query}`, class: "name" }, outside(one.id)),
            one.kind ? verdict(one.kind) : "–", count(one.n_names), count(one.n_agents), sizeOf(one.size), count(one.sub_networks.length), time(one.last_seen)])))
      : h("p", { class: "empty" }, "No network: no names were judged flux, or they share nothing."));
}

function showOne(one: Network, main: HTMLElement, query: string): void {
  const scan = query.slice(1);
  const { size } = one;
  const cards: Child[] = [];
  cards.push(graph(one));
  cards.push(card("Size and churn", null,
    h("dl", { class: "facts" },
      ...([
        ["Addresses at a time", size.estimate === null ? "no estimate" : `${sizeOf(size)}, 95 %${size.window_h ? `, within ${size.window_h} h` : ""} (${size.method})`],
        ["Addresses seen", count(one.n_agents)],
        ["An address stays", size.stay_h ? `${size.stay_h} h (mean)` : "not known"],
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
  const asns = Object.entries(one.asns ?? {}).slice(0, 12).map(([asn, n]) => ({ name: /^\d+$/.test(asn) ? `AS${asn}` : asn, n }));
  if (asns.length) cards.push(card("Networks of its agents", null, bars(`Addresses by origin AS: ${asns.slice(0, 5).map((as) => `${as.name} ${as.n}`).join(", ")}`, asns, "addresses")));
  cards.push(card("Sub-networks", "Names whose addresses come from one pool.",
    table("Sub-networks", ["", ["Names", "wrap"], ["Agents", "number"], ["At a time", "number"]],
      one.sub_networks.map((sub, at) => [String(at), sub.names.slice(0, 8).flatMap((name, place) => [place ? ", " : "", nameLink(name, scan)]).concat(sub.names.length > 8 ? [` and ${sub.names.length - 8} more`] : []),
        count(sub.n_agents), sizeOf(sub.size)]))));
  cards.push(card("Layers", "How each kind of link alone divides the names.", table("Layers", ["Layer", ["Groups", "number"], ["Addresses", "number"]],
    one.layers.map((layer) => [layer.layer, count(layer.n_groups), count(layer.n_addresses)]))));
  cards.push(whole(card("Names", null, table("Names", ["Name", "Verdict", ["Score", "number"], ["Sub-network", "number"], "First seen", "Last seen"],
    one.names.map((name) => [nameLink(name.name, scan), verdict(name.verdict), name.score.toFixed(2), String(name.sub_network), time(name.first_seen), time(name.last_seen)]), "tall"))));
  cards.push(whole(card("Agents", "Addresses of other people's machines, victims: notify their networks, do not block them.",
    table("Agents", ["Address", "Role", "Evidence", ["Names", "number"], "AS", "Organisation", "Country", "First seen", "Last seen"],
      one.agents.slice(0, 500).map((agent) => [outside(agent.address, "mono"), agent.role, agent.evidence, count(agent.n_names),
        agent.origin_asn === null ? "?" : `AS${agent.origin_asn}`, outside(agent.organisation), agent.country ?? "?", time(agent.first_seen), time(agent.last_seen)]), "tall"),
    one.n_agents > 500 ? h("p", { class: "about" }, `${count(one.n_agents - 500)} more: use unflux networks --json.`) : null)));
  if (one.sleepers?.length) cards.push(card("Names that may join", "They do not rotate (yet) but hang on the network.",
    table("Names that may join", ["Name", "Verdict", "Why"], one.sleepers.map((name) => [nameLink(name.name, scan), verdict(name.verdict), name.why]), "tall")));
  if (one.overlaps?.length) cards.push(card("Other networks with the same addresses", null, table("Overlaps", ["Network", ["Addresses", "number"], ["Share", "number"]],
    one.overlaps.map((other) => [h("a", { href: `#/networks/${encodeURIComponent(other.network)}${query}` }, outside(other.network)), count(other.n_common), percent(other.share)]))));
  if (one.history?.length) cards.push(card("History", null, h("ul", {}, ...one.history.map((line) => h("li", {}, outside(line))))));
  replace(main, h("div", { class: "title" }, h("h1", { class: "name" }, outside(one.id)),
    h("p", { class: "about" }, one.kind ? verdict(one.kind) : null, ` ${plural(one.n_names, "name")} · ${plural(one.n_agents, "address", "addresses")} · seen ${time(one.first_seen)} … ${time(one.last_seen)} UTC · `,
      h("a", { href: `#/networks${query}` }, "all networks"))),
    h("div", { class: "grid" }, ...cards));
}

function whole(element: HTMLElement): HTMLElement {
  element.classList.add("whole");
  return element;
}

/** Names inside, agents around them: placed here, so that nothing moves and nothing is laid out twice. */
function graph(one: Network): HTMLElement {
  const names = one.names.slice(0, 150);
  const links = (one.links ?? []).filter(([name, agent]) => name < names.length && agent < one.agents.length);
  const used = [...new Set(links.map(([, agent]) => agent))].slice(0, MAX_NODES - names.length);
  const kept = new Set(used);
  if (!links.length) return whole(card("Graph", null, h("p", {}, "No links between names and addresses are known.")));
  const place = (at: number, of: number, radius: number, turn = 0): [number, number] => {
    const angle = (2 * Math.PI * at) / Math.max(1, of) + turn;
    return [Math.cos(angle) * radius, Math.sin(angle) * radius];
  };
  const ordered = names.map((name, at) => ({ ...name, at })).sort((a, b) => a.sub_network - b.sub_network);
  const angleOf = new Map(ordered.map((name, at) => [name.at, (2 * Math.PI * at) / Math.max(1, ordered.length)]));
  const pull = (agent: number): number => {
    let x = 0, y = 0;
    for (const [name, to, n] of links) if (to === agent) { x += n * Math.cos(angleOf.get(name)!); y += n * Math.sin(angleOf.get(name)!); }
    return Math.atan2(y, x);
  };
  const around = used.map((agent) => [agent, pull(agent)] as const).sort((a, b) => a[1] - b[1]);
  const most = Math.max(...links.map(([, , n]) => n));
  const label = `Graph: ${names.length} names in ${one.sub_networks.length} sub-networks inside a ring of ${around.length} addresses; a line means that the name was answered with the address. The tables below have the same.`;
  const options = (): EChartsCoreOption => {
    const colours = inks();
    return {
      tooltip: { ...tooltip(), formatter: (item: { dataType: string; data: { name: string; what?: string } }) => item.dataType === "node" ? shown(`${item.data.name}\n${item.data.what ?? ""}`) : "" },
      series: [{
        type: "graph", layout: "none", roam: true, left: 40, right: 40, top: 30, bottom: 30, preserveAspect: true,
        emphasis: { focus: "adjacency", lineStyle: { width: 1.5, opacity: 0.9 } },
        lineStyle: { color: colours.muted, curveness: 0 },
        data: [
          ...ordered.map((name, at) => {
            const [x, y] = place(at, ordered.length, 46);
            return { id: `n${name.at}`, name: shown(name.name), x, y, symbolSize: 13, what: `${words(name.verdict)}, sub-network ${name.sub_network}`,
              itemStyle: { color: colours.series[name.sub_network % 9] },
              label: { show: ordered.length <= 24, position: "inside", offset: [0, -13], color: colours.ink, fontSize: 11, width: 150, overflow: "truncate" } };
          }),
          ...around.map(([agent], at) => {
            const [x, y] = place(at, around.length, 100, around[0][1]);
            const it = one.agents[agent];
            return { id: `a${agent}`, name: it.address, x, y, symbolSize: 5, symbol: it.role === "dns" ? "diamond" : "circle",
              what: `${it.role}, AS${it.origin_asn ?? "?"} ${it.organisation ?? ""}`, itemStyle: { color: it.role === "web" ? colours.muted : colours.accent } };
          }),
        ],
        links: links.filter(([, agent]) => kept.has(agent)).map(([name, agent, n]) => ({
          source: `n${name}`, target: `a${agent}`, lineStyle: { opacity: 0.12 + 0.5 * (n / most), width: 0.8 },
        })),
      }],
    };
  };
  return whole(card("Graph", "Names in the middle, coloured by sub-network; addresses around them (diamonds: addresses of name servers).", figure(label, Math.min(520, innerWidth), options)));
}

