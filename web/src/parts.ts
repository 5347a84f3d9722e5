// Small pieces that several pages use.

import { inPath, send, STATES, type State } from "./api";
import { h, outside } from "./dom";
import { words } from "./format";

export function verdict(id: string): HTMLElement {
  return h("span", { class: `verdict ${id}` }, words(id));
}

export function nameLink(name: string, scan = ""): HTMLElement {
  const href = `#/name/${inPath(name)}${scan ? `?${scan}` : ""}`;
  return h("a", { href, class: "name" }, outside(name));
}

export function stateSelect(name: string, state: State, may: boolean, done: (state: State) => void): HTMLElement {
  const select = h("select", { "aria-label": `Triage of ${name}`, disabled: !may },
    ...STATES.map((one) => h("option", { value: one, selected: one === state }, one)));
  select.addEventListener("change", async () => {
    const wanted = select.value as State;
    try {
      await send("PUT", `triage/${inPath(name)}`, { state: wanted });
      done(wanted);
    } catch (error) {
      select.value = state;
      alertIn(select.parentElement!, error);
    }
  });
  return select;
}

/** The error's sentence beside what failed. */
export function alertIn(parent: Element, error: unknown): void {
  parent.querySelector(":scope > .alert")?.remove();
  const text = error instanceof Error ? error.message : String(error);
  parent.append(h("p", { class: "alert", role: "alert" }, text));
}

export function notYet(title: string, ...message: string[]): HTMLElement {
  return h("div", { class: "card narrow" }, h("h1", {}, title), ...message.map((one) => h("p", {}, one)));
}

