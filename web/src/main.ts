// The frame: navigation, theme, tokens, and which page an address shows.

import "./style.css";
import { ApiError, get, token, type Me, type Scan } from "./api";
import { append, h, replace } from "./dom";
import { forget, redrawAll } from "./redraw";

// The CSP demands trusted types. Nothing here makes HTML from strings; the one exception that
// libraries need is emptying an element.
declare global {
  interface Window {
    trustedTypes?: { createPolicy(name: string, rules: object): unknown };
  }
}
window.trustedTypes?.createPolicy("default", {
  createHTML: (text: string) => {
    if (text === "") return "";
    throw new TypeError("HTML is not made from strings here");
  },
});

export interface Context {
  me: Me;
  params: URLSearchParams;
  /** What follows the page's name in the address, decoded. */
  rest: string;
  /** Ends when another page is shown. */
  signal: AbortSignal;
  main: HTMLElement;
}

type Page = (context: Context) => Promise<void>;
const PAGES: Record<string, { title: string; load: () => Promise<{ show: Page }>; nav: boolean }> = {
  findings: { title: "Findings", load: () => import("./pages/findings"), nav: true },
  name: { title: "Name", load: () => import("./pages/name"), nav: false },
  networks: { title: "Networks", load: () => import("./pages/networks"), nav: true },
  live: { title: "Live", load: () => import("./pages/live"), nav: true },
  lab: { title: "Lab", load: () => import("./pages/lab"), nav: true },
  upload: { title: "Upload", load: () => import("./pages/upload"), nav: true },
  scan: { title: "Scan", load: () => import("./pages/scan"), nav: false },
  admin: { title: "Access", load: () => import("./pages/admin"), nav: true },
};

let me: Me | null = null;
let leaving = new AbortController();
const main = h("main", { id: "main", tabindex: -1 });
const nav = h("nav", { "aria-label": "Pages" });
const status = h("p", { class: "unseen", role: "status" });

/** Say something to people who do not see the page change. */
export function announce(text: string): void {
  replace(status, text);
}

export function scanParam(): string {
  const scan = new URLSearchParams(location.hash.split("?")[1] ?? "").get("scan");
  return scan ? `scan=${scan}` : "";
}

function themeButton(): HTMLElement {
  const root = document.documentElement;
  const kept = localStorage.getItem("unflux-theme");
  if (kept) root.dataset.theme = kept;
  return h("button", {
    class: "quiet", type: "button", "aria-label": "Light or dark", title: "Light or dark",
    onClick: () => {
      const dark = root.dataset.theme
        ? root.dataset.theme === "dark"
        : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("unflux-theme", root.dataset.theme);
      redrawAll();
    },
  }, "◐");
}

function fillNav(current: string): void {
  replace(nav, ...Object.entries(PAGES)
    .filter(([name, page]) => page.nav && !(name === "live" && !me?.live) && !(name === "lab" && !me?.lab)
      && !(name === "admin" && me?.role !== "admin") && !(name === "upload" && me?.role === "read"))
    .map(([name, page]) =>
      h("a", { href: `#/${name}`, "aria-current": name === current || (current === "name" && name === "findings") ? "page" : null }, page.title)));
}

function askForToken(message: string): void {
  const input = h("input", { type: "password", id: "token", autocomplete: "off", required: true });
  replace(main, h("form", {
    class: "card narrow",
    onSubmit: (event: Event) => {
      event.preventDefault();
      token.set(input.value.trim());
      me = null;
      void show();
    },
  },
    h("h1", {}, "A token is needed"),
    h("p", {}, message),
    h("label", { for: "token" }, "Token"),
    input,
    h("button", { type: "submit" }, "Go on"),
  ));
  input.focus();
}

function fail(error: unknown): void {
  if (error instanceof DOMException && error.name === "AbortError") return;
  if (error instanceof ApiError && error.status === 401) {
    token.clear();
    askForToken(error.message);
    return;
  }
  const message = error instanceof ApiError ? error.message : `the page broke: ${String(error)}`;
  if (!(error instanceof ApiError)) console.error(error);
  announce(message);
  replace(main, h("div", { class: "card narrow", role: "alert" },
    h("h1", {}, "This did not work"),
    h("p", {}, message),
    h("p", {}, h("a", { href: "#/findings" }, "To the findings"))));
}

async function show(): Promise<void> {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  forget();
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [first, ...others] = path.split("/");
  const name = first in PAGES ? first : "findings";
  try {
    const [known, page] = await Promise.all([me ?? get<Me>("me"), PAGES[name].load()]);
    me = known;
    fillNav(name);
    if (signal.aborted) return;
    const rest = decodeURIComponent(others.join("/"));
    document.title = `${PAGES[name].title} – unflux`;
    await page.show({ me, params: new URLSearchParams(query), rest, signal, main });
    if (!signal.aborted) announce(`${document.title} is shown`);
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
}

export function scanPicker(scans: Scan[], current: string | null, change: (id: string) => void): HTMLElement | null {
  if (scans.length < 2) return null;
  const select = h("select", { id: "scan", onChange: () => change(select.value) },
    ...scans.map((one) => h("option", { value: one.id, selected: one.id === current },
      `${one.kind === "upload" ? "Upload: " : ""}${one.title}`)));
  return h("span", { class: "field" }, h("label", { for: "scan" }, "Scan"), select);
}

append(document.body, [
  h("a", { class: "skip", href: "#main", onClick: (event: Event) => { event.preventDefault(); main.focus(); } }, "To the content"),
  h("header", { class: "top" },
    h("a", { class: "brand", href: "#/findings" },
      h("img", { src: "./icon.svg", alt: "", width: 24, height: 24 }), "unflux"),
    nav, themeButton()),
  main,
  status,
]);
addEventListener("hashchange", () => {
  scrollTo(0, 0);
  void show();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
void show();
