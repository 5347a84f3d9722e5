// Elements from values. Strings become text nodes, always: nothing here parses HTML.

export type Child = Node | string | number | null | undefined | false | Child[];
type Props = Record<string, unknown>;

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;

/** Text from outside: characters that are not seen, or turn what follows around, as escapes. */
export function shown(text: string): string {
  return text.replace(HIDDEN, (one) =>
    one === "\n" || one === "\t" ? one : `\\u{${one.codePointAt(0)!.toString(16)}}`,
  );
}

/** An element; `onX` props are listeners, `class` and others attributes, true an empty attribute. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on") && typeof value === "function") {
      element.addEventListener(key.slice(2).toLowerCase(), value as EventListener);
    } else {
      element.setAttribute(key, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

export function append(parent: Node, children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(parent, child);
    else if (child instanceof Node) parent.appendChild(child);
    else parent.appendChild(document.createTextNode(shown(String(child))));
  }
}

export function replace(parent: Element, ...children: Child[]): void {
  parent.replaceChildren();
  append(parent, children);
}

/** A name or other text of strangers: set apart from the direction of what is around it. */
export function outside(text: string | null | undefined, cls = ""): HTMLElement {
  return h("bdi", { class: cls || null }, text ?? "–");
}

export function table(
  caption: string,
  head: (string | [string, string])[],
  rows: Child[][],
  cls = "",
): HTMLElement {
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h(
      "table",
      { class: cls || null },
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, ...head.map((one) =>
        Array.isArray(one)
          ? h("th", { scope: "col", class: one[1] }, one[0])
          : h("th", { scope: "col" }, one),
      ))),
      h("tbody", {}, ...rows.map((cells) =>
        h("tr", {}, ...cells.map((cell, at) => {
          const label = head[at];
          return h("td", { class: Array.isArray(label) ? label[1] : null }, cell);
        })),
      )),
    ),
  );
}

export function card(title: string, about: string | null, ...children: Child[]): HTMLElement {
  const id = `h-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return h(
    "section",
    { class: "card", "aria-labelledby": id },
    h("h2", { id }, title),
    about ? h("p", { class: "about" }, about) : null,
    ...children,
  );
}

/** A card over all columns. */
export function whole(element: HTMLElement): HTMLElement {
  element.classList.add("whole");
  return element;
}
