// Verdicts of `unflux watch` as they come.

import { failure, get, headers } from "../api";
import { lines } from "../charts";
import { card, h, outside, replace, shown } from "../dom";
import { count, time, words } from "../format";
import type { Context } from "../main";
import { nameLink, verdict } from "../parts";

type Alert = Record<string, unknown> & { number?: number };
const KEPT = 300;
const MINUTES = 60;

export async function show({ main, signal }: Context): Promise<void> {
  const first = await get<{ number: number; malformed: number; alerts: Alert[] }>("live", signal);
  const alerts: Alert[] = [...first.alerts];
  const arrived: number[] = [];
  const list = h("ol", { class: "alerts", reversed: true, "aria-live": "polite" });
  const state = h("span", { class: "tag" }, "connecting");
  const rates = h("div", {});
  const total = h("dd", {}, count(first.number));
  replace(main,
    h("div", { class: "title" }, h("h1", {}, "Live"), h("p", { class: "about" }, "Alerts of unflux watch as they come ", state)),
    h("div", { class: "grid" },
      card("Rate", "Alerts a minute, since this page is open.", rates,
        h("dl", { class: "facts" }, h("dt", {}, "Alerts so far"), total, h("dt", {}, "Lines that are no alert"), h("dd", {}, count(first.malformed)))),
      whole(card("Alerts", null, list))));
  for (const alert of [...alerts].reverse()) list.prepend(item(alert));
  if (!alerts.length) list.append(h("li", { class: "empty" }, "None yet: they appear here by themselves."));
  const opened = Date.now();
  const drawRates = (): void => {
    const now = Date.now();
    const points = Array.from({ length: MINUTES }, (_, at) => {
      const from = now - (MINUTES - at) * 60_000;
      return { time: new Date(from).toISOString(), n: arrived.filter((one) => one >= from && one < from + 60_000).length };
    }).filter((point, at) => at > MINUTES - 3 || Date.parse(point.time) >= opened - 60_000);
    replace(rates, lines(`Alerts a minute: ${points.at(-1)?.n ?? 0} in the last one`, points, [{ name: "alerts", of: (point) => point.n, area: true }], { unit: "", height: 140 }));
  };
  drawRates();
  const timer = setInterval(drawRates, 10_000);
  signal.addEventListener("abort", () => clearInterval(timer));
  void follow(first.number, signal, (alert, number) => {
    list.querySelector(".empty")?.remove();
    list.prepend(item(alert));
    while (list.children.length > KEPT) list.lastElementChild!.remove();
    arrived.push(Date.now());
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
  const at = text(inner(alert, "event")?.created) ?? text(alert["@timestamp"]) ?? text(flux.last_seen);
  const block = inner(alert, "flux_block");
  const outcome = text(block?.outcome);
  const until = typeof block?.until_us === "number" ? `until ${time(new Date(block.until_us / 1000).toISOString())}` : null;
  const reason = text(inner(alert, "event")?.reason) ?? text(block?.why) ?? text((flux.reasons as { says?: unknown }[] | undefined)?.[0]?.says);
  return h("li", {},
    h("time", {}, time(at)), name ? nameLink(name) : outside(says),
    name ? (/^[a-z_]+$/.test(says) ? verdict(says) : outside(says)) : null,
    typeof flux.score === "number" ? h("span", { class: "tag" }, flux.score.toFixed(2)) : null,
    [outcome ? words(outcome) : null, text(block?.action), until].map((one) => (one ? h("span", { class: "tag" }, one) : null)),
    reason ? h("small", {}, outside(reason)) : null,
    h("details", {}, h("summary", {}, "all of it"), h("pre", {}, shown(JSON.stringify(alert, null, 1)))));
}

function inner(from: Record<string, unknown> | undefined, key: string): Record<string, unknown> | undefined {
  const value = from?.[key];
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

const text = (value: unknown): string | undefined => (typeof value === "string" && value ? value : undefined);

function whole(element: HTMLElement): HTMLElement {
  element.classList.add("whole");
  return element;
}
