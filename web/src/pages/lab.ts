// The lab: one that runs, and a walk: who talks to whom, step by step, with captured packets.

import { get } from "../api";
import { append, card, h, replace, shown, table } from "../dom";
import { count } from "../format";
import { announce, type Context } from "../main";
import { svg } from "../svg";
import { running } from "./running-lab";

interface Arrow { from: string; to: string; protocol: string; says: string; packet: number; ms: number }
interface Walk {
  walk: string; name: string; cast: Record<string, string>;
  steps: { step: number; what: string; arrows: Arrow[] }[];
  registrations?: { before: Record<string, string[]>; after: Record<string, string[]> };
  proof?: Record<string, unknown>; capture?: string;
}

const TITLES: Record<string, string> = {
  infected_host: "infected host", resolver: "resolver", root: "root server", registry: "registry",
  name_server: "name server", agent: "flux agent", mothership: "mothership",
};
const PLACES: Record<string, [number, number]> = {
  infected_host: [90, 210], resolver: [330, 210], root: [330, 50], registry: [560, 50],
  name_server: [560, 210], agent: [330, 370], mothership: [790, 290],
};
const STEP_MS = 2600;

export async function show({ me, main, signal }: Context): Promise<void> {
  const grid = h("div", { class: "grid" });
  const about = h("p", { class: "about" }, "Flux in a sealed network namespace: nothing here reaches the world.");
  replace(main, h("div", { class: "title" }, h("h1", {}, "Lab"), about), grid);
  if (me.features.includes("lab")) await running(grid, me, signal);
  if (me.features.includes("walk")) await walked(grid, signal);
}

async function walked(grid: HTMLElement, signal: AbortSignal): Promise<void> {
  const walk = await get<Walk>("lab/walk", signal);
  if (!Array.isArray(walk.steps) || !walk.cast) {
    grid.append(card("Walk", null, h("p", {}, "This file is not what unflux lab walk … --json prints.")));
    return;
  }
  const roles = new Map<string, string>();
  for (const key of Object.keys(PLACES)) if (walk.cast[key] && !roles.has(walk.cast[key])) roles.set(walk.cast[key], key);
  const isAgent = walk.cast.name_server_is === "agent";
  const picture = svg("svg", { viewBox: "0 0 900 430", role: "img", "aria-label": "Hosts of the walk and who sends to whom in the step that is chosen; the list beside it has the same." });
  const arrows = svg("g", {});
  picture.append(svg("defs", {}, svg("marker", { id: "head", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse", class: "head" }, svg("path", { d: "M0 0 10 5 0 10z" }))), arrows);
  for (const [address, key] of roles) {
    const [x, y] = PLACES[key];
    const title = key === "name_server" && isAgent ? "name server: an agent" : TITLES[key];
    picture.append(svg("g", { class: `host ${key}${key === "name_server" && isAgent ? " agent" : ""}` },
      svg("rect", { x: x - 84, y: y - 27, width: 168, height: 54, rx: 10 }),
      svg("text", { x, y: y - 4, class: "what" }, title), svg("text", { x, y: y + 15, class: "at" }, address)));
  }
  const said = h("div", { "aria-live": "polite" });
  const buttons = walk.steps.map((step, at) => h("button", { type: "button", class: "quiet", "aria-pressed": "false", onClick: () => { stop(); draw(at); } }, `(${step.step})`));
  const draw = (at: number): void => {
    const step = walk.steps[at];
    buttons.forEach((button, place) => button.setAttribute("aria-pressed", String(place === at)));
    const past = walk.steps.slice(0, at).flatMap((one) => one.arrows.flatMap((arrow) => line(arrow, null, roles)));
    arrows.replaceChildren(...past, ...step.arrows.flatMap((arrow, place) => line(arrow, place, roles)));
    replace(said, h("h3", {}, `(${step.step}) ${step.what}`), h("ol", { class: "arrows" }, ...step.arrows.map((arrow) => h("li", {},
      h("b", {}, `${TITLES[roles.get(arrow.from) ?? ""] ?? arrow.from} → ${TITLES[roles.get(arrow.to) ?? ""] ?? arrow.to}`),
      h("span", { class: "tag" }, `packet ${arrow.packet}, ${arrow.ms} ms`), h("code", { class: "break" }, `${arrow.protocol} ${arrow.says}`)))));
  };
  let timer: number | undefined;
  let current = 0;
  const stop = (): void => { clearInterval(timer); timer = undefined; replace(play, "Play"); };
  const play = h("button", { type: "button", onClick: () => {
    if (timer !== undefined) return stop();
    replace(play, "Stop");
    draw(current = 0);
    timer = setInterval(() => {
      current += 1;
      if (current >= walk.steps.length) { stop(); announce("The walk is over"); } else draw(current);
    }, STEP_MS);
  } }, "Play");
  signal.addEventListener("abort", () => clearInterval(timer));
  const stage = h("figure", { class: "stage", tabindex: 0 });
  stage.append(picture);
  const top = card(`The walk of ${walk.walk} flux`, `${shown(walk.name)}, played in the sealed lab and captured: every arrow is a packet.`, h("div", { class: "bar" }, play, ...buttons), h("div", { class: "walk" }, stage, said));
  top.classList.add("whole");
  append(grid, [top, proof(walk), registrations(walk)]);
  draw(0);
}

/** An arrow and its number; without a place: one of a step before, faint. */
function line(arrow: Arrow, place: number | null, roles: Map<string, string>): SVGElement[] {
  const from = PLACES[roles.get(arrow.from) ?? ""];
  const to = PLACES[roles.get(arrow.to) ?? ""];
  if (!from || !to) return [];
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = Math.hypot(dx, dy) || 1;
  const [nx, ny] = [(-dy / length) * 9, (dx / length) * 9]; // there and back do not lie on each other
  const edge = Math.min(88 / Math.abs(dx / length || 1e-9), 31 / Math.abs(dy / length || 1e-9));
  const [ux, uy] = [(dx / length) * edge, (dy / length) * edge];
  const [x1, y1, x2, y2] = [from[0] + ux + nx, from[1] + uy + ny, to[0] - ux + nx, to[1] - uy + ny];
  if (place === null) return [svg("line", { x1, y1, x2, y2, class: "arrow past" })];
  return [
    svg("line", { x1, y1, x2, y2, class: `arrow d${Math.min(place, 5)}`, "marker-end": "url(#head)", pathLength: 1 }),
    svg("text", { x: (x1 + x2) / 2 + nx, y: (y1 + y2) / 2 + ny + 4, class: `order d${Math.min(place, 5)}` }, String(place + 1)),
  ];
}

function proof(walk: Walk): HTMLElement | null {
  if (!walk.proof) return null;
  const direct = walk.proof.infected_host_and_mothership;
  return card("Proof from the capture", null,
    h("p", {}, h("b", {}, direct === 0 ? "The infected host and the mothership never exchanged a packet." : `The infected host and the mothership exchanged ${String(direct)} packets.`)),
    h("dl", { class: "facts" }, ...Object.entries(walk.proof).flatMap(([key, value]) => [h("dt", {}, key.replaceAll("_", " ")),
      h("dd", {}, typeof value === "number" ? count(value) : Array.isArray(value) ? value.map(String).join(", ") : typeof value === "object" && value ? Object.entries(value).map(([one, n]) => `${one}: ${String(n)}`).join(", ") : String(value))])));
}

function registrations(walk: Walk): HTMLElement | null {
  if (!walk.registrations) return null;
  const { before, after } = walk.registrations;
  return card("One flux period later", "The same questions again.", table("Before and after", ["What", ["Before", "wrap"], ["After", "wrap"]],
    Object.keys(before).map((key) => [key.replaceAll("_", " "), (before[key] ?? []).join(", "), (after[key] ?? []).join(", ")])));
}
