// A lab that runs: which agents answer now, who stands behind them, and take-downs inside of it.

import { get, send, type Me } from "../api";
import { card, h, outside, replace, table, type Child } from "../dom";
import { count, percent, words } from "../format";
import { announce } from "../main";
import { alertIn } from "../parts";
import { svg } from "../svg";

interface Network {
  mothership: string; back_ends: string[]; names: string[]; listed: string[][]; n_listed: number;
  answer?: string[]; name_servers?: string[]; name_servers_are_agents?: boolean; down?: string[];
}
interface Takedown {
  id: number; what: string; network: string; state: "measuring" | "done" | "failed"; error?: string;
  targets?: string[]; failed_before?: number; failed_after?: number; back_after_s?: number | null; watched_s?: number;
}
interface Lab {
  status: { scenario: string; speed: number; seconds: number; resolver: string; agents_up: number; networks: Record<string, Network>; people: Record<string, number> };
  takedowns: Takedown[];
}

const POLL_MS = 1000;
const WATCH_S = 10;
const COLUMNS = 12;
const SLOTS = 60;
const KINDS: [string, string, string][] = [
  ["agent", "An agent", "one address of the current answer"],
  ["agent-dns", "An agent's DNS", "one agent that is registered as name server"],
  ["name-servers", "Name servers", "all that are registered now"],
  ["back-end", "A back end", "one content server behind the mothership"],
  ["mothership", "The mothership", "with all its back ends"],
  ["delegation", "The delegation", "the registrar removes the name servers"],
  ["domain", "The domain", "the registry locks it and points it to a sinkhole"],
];

/** Cards of the running lab, kept up to date until the page is left. */
export async function running(grid: HTMLElement, me: Me, signal: AbortSignal): Promise<void> {
  const picture = topology();
  const said = h("div", {});
  const results = h("ul", { class: "uploads", "aria-live": "polite" });
  const select = h("select", { id: "lab-network" });
  const chosen = (lab: Lab): [string, Network] | undefined =>
    Object.entries(lab.status.networks).find(([name]) => name === select.value) ?? Object.entries(lab.status.networks)[0];
  const buttons = KINDS.map(([what, title, about]) => h("button", { type: "button", class: "quiet", title: about, disabled: me.role === "read", onClick: async () => {
    try {
      await send("POST", "lab/takedown", { what, network: select.value, watch_s: WATCH_S });
      announce(`${title}: taken down`);
      await refresh();
    } catch (error) {
      alertIn(bar, error);
    }
  } }, title));
  const bar = h("div", { class: "bar" }, ...buttons);
  const stage = h("figure", { class: "stage", tabindex: 0 });
  stage.append(picture.element);
  const choice = h("div", { class: "bar" }, h("span", { class: "field" }, h("label", { for: "lab-network" }, "Network"), select));
  const key = legend();
  const top = card("A running lab", "Each square is a flux agent of the live list. The infected host only ever meets agents; the mothership stays behind them.",
    choice, stage, key, said);
  top.classList.add("whole");
  const downs = card("Take down, in the lab only", `What happens to the network is measured for ${WATCH_S} seconds: a client looks the name up and fetches from it, again and again.`, bar, results);
  downs.classList.add("whole");
  grid.append(top, downs);
  let names = "";
  const fail = (error: unknown): void => {
    for (const one of [choice, stage, key, downs]) one.hidden = true;
    replace(said, h("p", { class: "alert", role: "status" }, error instanceof Error ? error.message : String(error)));
  };
  const draw = (lab: Lab): void => {
    for (const one of [choice, stage, key, downs]) one.hidden = false;
    const busy = lab.takedowns.some((one) => one.state === "measuring");
    for (const one of buttons) one.disabled = busy || me.role === "read";
    const all = Object.keys(lab.status.networks);
    if (all.join(" ") !== names) {
      names = all.join(" ");
      replace(select, ...all.map((name) => h("option", { value: name }, name)));
    }
    const found = chosen(lab);
    if (!found) return replace(said, h("p", {}, "This lab has no flux network."));
    picture.draw(found[1], lab.status.resolver);
    replace(said, facts(lab, found[1]));
    replace(results, ...lab.takedowns.map(result));
  };
  let last: Lab | null = null;
  const refresh = async (): Promise<void> => {
    last = await get<Lab>("lab", signal);
    if (!signal.aborted) draw(last);
  };
  select.addEventListener("change", () => { picture.clear(); if (last) draw(last); });
  const again = (): void => {
    setTimeout(() => {
      if (signal.aborted) return;
      refresh().catch((error: unknown) => { if (!signal.aborted) fail(error); }).finally(again);
    }, POLL_MS);
  };
  try {
    await refresh();
  } catch (error) {
    if (signal.aborted) return;
    fail(error);
  }
  again();
}

function facts({ status }: Lab, network: Network): Child {
  const name = network.names[0] ?? "?";
  const servers = network.name_servers ?? [];
  return table("The network now", ["What", ["Now", "wrap"]], [
    ["Name", outside(name)],
    ["Its answer", (network.answer ?? []).join(", ") || "none"],
    ["Its name servers", `${servers.join(", ") || "none registered"} (${network.name_servers_are_agents ? "agents: double flux" : "fixed: single flux"})`],
    ["Behind the agents", network.back_ends.join(", ")],
    ["Agents listed", `${count(network.n_listed)} of this network${network.n_listed > SLOTS ? `, of which ${SLOTS} are drawn` : ""}; ${count(status.agents_up)} up in the lab`],
    ["Down", (network.down ?? []).slice(0, 12).join(", ") || "nothing"],
    ["Lab", `${status.scenario}, ${Math.round(status.seconds)} s at ${status.speed} times the speed; ${count(status.people.visits ?? 0)} visits, ${count(status.people.polls ?? 0)} polls`],
  ]);
}

function result(one: Takedown): HTMLElement {
  const what = h("b", {}, `${words(one.what.replace("-", " "))} of ${one.network}`);
  if (one.state !== "done") return h("li", {}, what, h("span", { class: "tag" }, one.state), one.error ? h("p", { class: "alert" }, outside(one.error)) : null);
  const back = one.back_after_s === 0 ? "the content was never gone" : one.back_after_s ? `the content was back after ${one.back_after_s} s` : `the content was not back within ${one.watched_s ?? WATCH_S} s`;
  return h("li", {}, what, h("span", { class: "tag" }, back),
    h("small", {}, `${(one.targets ?? []).join(", ")} · failed fetches: ${percent(one.failed_before ?? 0)} before, ${percent(one.failed_after ?? 0)} after`));
}

function legend(): HTMLElement {
  const entry = (cls: string, text: string): HTMLElement => {
    const mark = svg("svg", { viewBox: "0 0 18 18", class: "key", "aria-hidden": "true" }, svg("g", { class: `slot ${cls}` }, svg("rect", { x: 2, y: 2, width: 14, height: 14, rx: 3 })));
    const item = h("span", { class: "entry" });
    item.append(mark, text);
    return item;
  };
  return h("p", { class: "legend" }, entry("listed", "agent"), entry("listed answers", "in the current answer"), entry("listed serves", "registered as name server"), entry("listed down", "taken down"));
}

/** The picture: agents keep their place while they are listed, so that change is seen as change. */
function topology(): { element: SVGElement; draw: (network: Network, resolver: string) => void; clear: () => void } {
  const slots = new Map<string, number>();
  const squares = Array.from({ length: SLOTS }, (_, at) => {
    const square = svg("rect", { x: -13, y: -13, width: 26, height: 26, rx: 5 });
    const title = svg("title", {});
    const x = 330 + (at % COLUMNS) * 33, y = 140 + Math.floor(at / COLUMNS) * 33;
    return { group: svg("g", { class: "slot", transform: `translate(${x} ${y})` }, title, square, svg("path", { class: "cross", d: "M-8-8 8 8M8-8-8 8" })), title, x, y };
  });
  const lines = svg("g", {});
  const at = { host: text(90, 235, "infected host"), resolver: text(90, 60, "resolver"), servers: text(510, 60, "name servers"), ship: text(815, 206, "mothership") };
  const element = svg("svg", { viewBox: "0 0 900 330", role: "img", "aria-label": "Infected host, resolver, agents and mothership; the table below has the same." },
    lines, ...Object.values(at).map((one) => one.group), ...squares.map((one) => one.group));
  const clear = (): void => slots.clear();
  const draw = (network: Network, resolver: string): void => {
    const answer = new Set(network.answer ?? []);
    const servers = new Set(network.name_servers_are_agents ? network.name_servers ?? [] : []);
    const down = new Set(network.down ?? []);
    const wanted = new Set([...answer, ...servers, ...network.listed.flat()].slice(0, SLOTS));
    for (const address of slots.keys()) if (!wanted.has(address)) slots.delete(address);
    const free = squares.map((_, place) => place).filter((place) => ![...slots.values()].includes(place));
    for (const address of wanted) if (!slots.has(address)) slots.set(address, free.shift()!);
    const held = new Map([...slots].map(([address, place]) => [place, address]));
    squares.forEach((one, place) => {
      const address = held.get(place);
      const classes = ["slot"];
      if (address) classes.push("listed");
      if (address && answer.has(address)) classes.push("answers");
      if (address && servers.has(address)) classes.push("serves");
      if (address && down.has(address)) classes.push("down");
      one.group.setAttribute("class", classes.join(" "));
      one.title.textContent = address ?? "";
    });
    const ship = [748, 206] as const;
    const paths: SVGElement[] = [];
    const line = (from: readonly [number, number], to: readonly [number, number], cls: string): void => { paths.push(svg("line", { x1: from[0], y1: from[1], x2: to[0], y2: to[1], class: `flow ${cls}` })); };
    line([90, 205], [90, 90], "ask");
    if (!network.name_servers_are_agents) line([172, 60], [428, 60], "ask");
    for (const [address, place] of slots) {
      const here = [squares[place].x, squares[place].y] as const;
      const cls = down.has(address) ? " broken" : "";
      if (servers.has(address)) { line([172, 66], here, `serve${cls}`); line(here, ship, `serve${cls}`); }
      if (answer.has(address)) { line([172, 235], here, `fetch${cls}`); line(here, ship, `fetch${cls}`); }
    }
    lines.replaceChildren(...paths);
    at.resolver.say(resolver);
    at.host.say("asks, then fetches");
    const [first, ...others] = network.name_servers ?? [];
    at.servers.say(!first ? "none registered" : network.name_servers_are_agents ? "agents (violet)" : first + (others.length ? ` +${others.length}` : ""));
    at.ship.say(network.mothership);
    at.ship.group.classList.toggle("down", down.has(network.mothership));
  };
  return { element, draw, clear };
}

function text(x: number, y: number, what: string): { group: SVGElement; say: (line: string) => void } {
  const below = svg("text", { x, y: y + 15, class: "at" });
  const width = what === "mothership" ? 134 : 164;
  const group = svg("g", { class: `host ${what.replace(" ", "_")}` },
    svg("rect", { x: x - width / 2, y: y - 27, width, height: 54, rx: 10 }), svg("text", { x, y: y - 4, class: "what" }, what), below);
  return { group, say: (line) => { below.textContent = line; } };
}
