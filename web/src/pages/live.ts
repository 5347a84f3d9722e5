// What `unflux watch` does now: rates, drops, blocks, and its verdicts as they come.

import { failure, get, headers } from "../api";
import { lines } from "../charts";
import { card, h, outside, replace, shown, table, type Child } from "../dom";
import { bytes, count, moment, plural, time, words } from "../format";
import type { Context } from "../main";
import { nameLink, verdict } from "../parts";

type Alert = Record<string, unknown> & { number?: number };
const KEPT = 300;
const MINUTES = 60;
const MAX_ARRIVED = 20_000;

interface Rate { at_s: number; items: number; decoded: number; dropped: number; judged: number }
interface Blocked { trigger: string; kind: string; name: string; verdict: string; score: number; reason: string; action: string; since: string; until: string }
interface Watch {
  health: { ok: boolean; last_round_s: number; items: number; dropped: number; judged: number; flux: number; blocks: number } | null;
  trouble: string | null; rates: Rate[]; numbers: Record<string, number>;
  has_blocks: boolean; n_blocks: number; blocks: Blocked[];
}
const WATCH_MS = 4000;
/** Why flux was not blocked: words of `flux_block.why`. */
const REFUSED: Record<string, string> = {
  allowlist: "it is on the allowlist", benign_explanation: "a benign explanation fits", score: "its score is below --block-min-score",
  confidence: "its confidence is below --block-min-confidence", public_suffix: "it is a public suffix", size: "the block list is full", verdict: "it is not called flux",
};

export async function show(context: Context): Promise<void> {
  const { main, me, signal } = context;
  const state = h("span", { class: "tag" }, "connecting");
  const grid = h("div", { class: "grid" });
  const has = (feature: string): boolean => me.features.includes(feature);
  replace(main, h("div", { class: "title" }, h("h1", {}, "Live"),
    h("p", { class: "about" }, "What unflux watch does and tells ", has("alerts") ? state : null)), grid);
  if (has("watch")) await watched(grid, signal);
  if (has("alerts")) await alerted(grid, state, signal);
}

/** Rates and drops, and what is blocked until when. */
async function watched(grid: HTMLElement, signal: AbortSignal): Promise<void> {
  const chart = h("div", {});
  const facts = h("div", {});
  const blocks = h("div", {});
  grid.append(whole(card("Rates", "A second, over the last half hour.", chart)), whole(card("Blocked", null, blocks)), card("Now", null, facts));
  let drawn = "";
  const draw = async (): Promise<void> => {
    const watch = await get<Watch>("live/watch", signal);
    if (signal.aborted) return;
    const points = watch.rates.map((one) => ({ ...one, time: new Date(one.at_s * 1000).toISOString() }));
    const last = points.at(-1);
    replace(chart, points.length > 1
      ? lines(`Responses, names judged and responses dropped a second; now ${last?.items ?? 0}, ${last?.judged ?? 0} and ${last?.dropped ?? 0}`, points,
          [{ name: "responses", of: (one) => one.items, area: true }, { name: "judged", of: (one) => one.judged }, { name: "dropped", of: (one) => one.dropped }], { unit: "/s", height: 190 })
      : h("p", { class: "about" }, watch.health ? "The first numbers come in a moment." : "No numbers."));
    replace(facts, watch.trouble ? h("p", { class: "alert" }, outside(watch.trouble)) : null, now(watch));
    const content = JSON.stringify(watch.blocks);
    if (content !== drawn) replace(blocks, blocked(watch));
    drawn = content;
  };
  await draw();
  const again = (): void => {
    setTimeout(() => {
      if (signal.aborted) return;
      draw().catch((error: unknown) => replace(facts, h("p", { class: "alert" }, error instanceof Error ? error.message : String(error)))).finally(again);
    }, WATCH_MS);
  };
  again();
}

function now({ health, numbers }: Watch): HTMLElement | null {
  if (!health) return null;
  const evicted = (numbers['evicted_names_total{class="benign"}'] ?? 0) + (numbers['evicted_names_total{class="other"}'] ?? 0);
  const rows: [string, Child][] = [
    ["State", health.ok ? "works" : h("b", { class: "alert" }, `stalls: the last round was ${health.last_round_s} s ago`)],
    ["Responses", count(health.items)], ["Names judged", count(health.judged)], ["Names judged flux", count(health.flux)],
    ["Dropped", health.dropped ? h("b", { class: "alert" }, count(health.dropped)) : "none"],
    ["Names in memory", count(numbers.window_names)], ["Names given up for want of memory", count(evicted)],
    ["Producers connected", count(numbers.producers)],
    ["Memory", numbers.resident_bytes ? bytes(numbers.resident_bytes) : "?"],
  ];
  return h("dl", { class: "facts" }, ...rows.flatMap(([title, value]) => [h("dt", {}, title), h("dd", {}, value)]));
}

function blocked({ has_blocks, n_blocks, blocks }: Watch): Child[] {
  if (!has_blocks) return [h("p", {}, "Not known: name the watch's state directory too (--watch DIR).")];
  if (!blocks.length) return [h("p", { class: "empty" }, "Nothing is blocked.")];
  return [
    h("p", { class: "about" }, `${plural(n_blocks, "entry", "entries")}; an entry ends by itself when the name is not seen rotating again. Times are UTC.`),
    table("Blocked", ["What", "Action", "Until", ["Since", "wide"], ["Verdict", "wide"], ["Why", "wrap wide"]], blocks.map((one) => [
      [one.kind === "qname" ? nameLink(one.trigger) : outside(one.trigger), one.kind === "qname" ? null : h("span", { class: "tag" }, one.kind), h("span", { class: "narrow-only" }, verdict(one.verdict))],
      one.action === "monitor" ? "monitor (only told)" : words(one.action), time(one.until), time(one.since), verdict(one.verdict), outside(one.reason)]), "tall"),
  ];
}

async function alerted(grid: HTMLElement, state: HTMLElement, signal: AbortSignal): Promise<void> {
  const first = await get<{ number: number; malformed: number; alerts: Alert[] }>("live", signal);
  const alerts: Alert[] = [...first.alerts];
  const arrived: number[] = [];
  const list = h("ol", { class: "alerts", reversed: true, "aria-live": "polite" });
  for (const alert of alerts) arrived.push(timeOf(alert));
  const rates = h("div", {});
  const total = h("dd", {}, count(first.number));
  grid.append(
      card("Alerts a minute", "Over the last hour.", rates,
        h("dl", { class: "facts" }, h("dt", {}, "Alerts so far"), total, h("dt", {}, "Lines that are no alert"), h("dd", {}, count(first.malformed)))),
      whole(card("Alerts", "As the watch tells them; times are UTC. What the dataset knows of a name may be older.", list)));
  for (const alert of [...alerts].reverse()) list.prepend(item(alert));
  if (!alerts.length) list.append(h("li", { class: "empty" }, "None yet: they appear here by themselves."));
  const drawRates = (): void => {
    const now = Date.now();
    const points = Array.from({ length: MINUTES }, (_, at) => {
      const from = now - (MINUTES - at) * 60_000;
      return { time: new Date(from).toISOString(), n: arrived.filter((one) => one >= from && one < from + 60_000).length };
    });
    replace(rates, lines(`Alerts a minute: ${points.at(-1)?.n ?? 0} in the last one`, points, [{ name: "alerts", of: (point) => point.n, area: true }], { unit: "", height: 140 }));
  };
  drawRates();
  const timer = setInterval(drawRates, 10_000);
  signal.addEventListener("abort", () => clearInterval(timer));
  void follow(first.number, signal, (alert, number) => {
    list.querySelector(".empty")?.remove();
    list.prepend(item(alert));
    while (list.children.length > KEPT) list.lastElementChild!.remove();
    arrived.push(timeOf(alert));
    if (arrived.length > MAX_ARRIVED) arrived.shift();
    replace(total, count(number));
  }, (text) => replace(state, text));
}

/** Server-sent events by fetch: an EventSource could not carry the token. */
async function follow(after: number, signal: AbortSignal, take: (alert: Alert, number: number) => void, say: (text: string) => void): Promise<void> {
  while (!signal.aborted) {
    try {
      const response = await fetch("api/v1/live/stream", { signal, headers: { ...headers(), "Last-Event-ID": String(after) } });
      if (!response.ok) throw await failure(response);
      say("connected");
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const events = (rest + value).split("\n\n");
        rest = events.pop()!;
        for (const event of events) {
          const id = /^id: (\d+)$/m.exec(event);
          const data = /^data: (.*)$/m.exec(event);
          if (!id || !data) continue;
          after = Number(id[1]);
          take(JSON.parse(data[1]) as Alert, after);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      say(error instanceof Error ? error.message : "not connected");
    }
    say("not connected, trying again");
    await new Promise((done) => setTimeout(done, 3000));
  }
}

function item(alert: Alert): HTMLElement {
  const flux = inner(alert, "flux") ?? alert;
  const name = text(flux.name) ?? text(inner(inner(alert, "dns"), "question")?.name);
  const says = text(flux.verdict) ?? text(inner(alert, "rule")?.name) ?? "alert";
  const at = toldAt(alert);
  const block = inner(alert, "flux_block");
  const outcome = text(block?.outcome);
  const until = typeof block?.until_us === "number" ? `until ${time(new Date(block.until_us / 1000).toISOString())}` : null;
  const refused = outcome === "refused" ? `not blocked: ${REFUSED[text(block?.why) ?? ""] ?? text(block?.why) ?? "?"}` : null;
  const reason = text(inner(alert, "event")?.reason) ?? text(block?.why) ?? text((flux.reasons as { says?: unknown }[] | undefined)?.[0]?.says);
  return h("li", {},
    h("time", {}, moment(at)), name ? nameLink(name) : outside(says),
    name ? (/^[a-z_]+$/.test(says) ? verdict(says) : outside(says)) : null,
    typeof flux.score === "number" ? h("span", { class: "tag" }, flux.score.toFixed(2)) : null,
    [refused ?? (outcome ? words(outcome) : null), text(block?.action), until].map((one) => (one ? h("span", { class: "tag" }, one) : null)),
    reason ? h("small", {}, outside(reason)) : null,
    h("details", {}, h("summary", {}, "all of it"), h("pre", {}, shown(JSON.stringify(alert, null, 1)))));
}

/** When the watch told of it. */
function toldAt(alert: Alert): string | undefined {
  return text(inner(alert, "event")?.created) ?? text(alert["@timestamp"]) ?? text((inner(alert, "flux") ?? alert).last_seen);
}

/** In milliseconds; now, where the alert does not say. */
const timeOf = (alert: Alert): number => Date.parse(toldAt(alert) ?? "") || Date.now();

function inner(from: Record<string, unknown> | undefined, key: string): Record<string, unknown> | undefined {
  const value = from?.[key];
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

const text = (value: unknown): string | undefined => (typeof value === "string" && value ? value : undefined);

function whole(element: HTMLElement): HTMLElement {
  element.classList.add("whole");
  return element;
}
