// Send a capture and watch its scan.

import { get, send, token, type Upload } from "../api";
import { card, h, outside, replace } from "../dom";
import { bytes, plural, time } from "../format";
import { announce, type Context } from "../main";
import { alertIn } from "../parts";

const POLL_MS = 1000;
const RUNNING = ["receiving", "waiting", "reading", "judging"];

export async function show({ me, main, signal }: Context): Promise<void> {
  const limit = me.upload_limit_bytes;
  const file = h("input", { type: "file", id: "file", required: true });
  const bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Sent so far" });
  const button = h("button", { type: "submit" }, "Send and scan");
  const list = h("ul", { class: "uploads" });
  const form = h("form", { onSubmit: async (event: Event) => {
    event.preventDefault();
    const chosen = file.files?.[0];
    if (!chosen) return;
    form.querySelector(":scope > .alert")?.remove();
    if (chosen.size > limit) {
      alertIn(form, new Error(`This file has ${bytes(chosen.size)}; at most ${bytes(limit)} are taken. Scan it on the command line.`));
      return;
    }
    button.disabled = true;
    bar.hidden = false;
    try {
      await put(chosen, (share) => { bar.value = share; }, signal);
      announce("The file is sent");
      form.reset();
    } catch (error) {
      alertIn(form, error);
    }
    button.disabled = false;
    bar.hidden = true;
    await refresh();
  } },
    h("label", { for: "file" }, "Capture or log: pcap, pcapng, dnstap, Zeek, EVE, passive DNS and others, packed or not"),
    file, bar, button);
  replace(main, h("div", { class: "title" }, h("h1", {}, "Upload"),
    h("p", { class: "about" }, `A capture of at most ${bytes(limit)} is scanned apart from the dataset, with limits on time and memory. The file itself is not kept, what was seen in it is.`)),
    h("div", { class: "grid" }, card("Scan a capture", null, form), card("Uploads", null, list)));
  const refresh = async (): Promise<void> => {
    const { uploads } = await get<{ uploads: Upload[] }>("uploads", signal);
    replace(list, ...(uploads.length ? uploads.map((one) => item(one, refresh)) : [h("li", { class: "empty" }, "None in this run.")]));
    if (uploads.some((one) => RUNNING.includes(one.state))) {
      setTimeout(() => { if (!signal.aborted) void refresh().catch(() => undefined); }, POLL_MS);
    }
  };
  await refresh();
}

function item(one: Upload, refresh: () => Promise<void>): HTMLElement {
  const running = RUNNING.includes(one.state);
  const element = h("li", {},
    h("b", {}, outside(one.title)), h("span", { class: "tag" }, one.state),
    h("small", {}, `${bytes(one.size_bytes)} · ${time(one.made_at)}`),
    running ? h("progress", { max: Math.max(1, one.size_bytes), value: one.state === "reading" ? one.done_bytes : null, "aria-label": `Scan of ${one.title}` }) : null,
    one.names !== null ? h("a", { href: `#/findings?scan=${one.id}` }, `${plural(one.names, "name")} judged: look at them`) : null,
    one.error ? h("p", { class: "alert" }, outside(one.error)) : null,
    h("button", { type: "button", class: "quiet", onClick: async () => {
      try {
        await send("DELETE", `uploads/${one.id}`);
        await refresh();
      } catch (error) {
        alertIn(element, error);
      }
    } }, running ? "Cancel" : "Remove"));
  return element;
}

/** By XMLHttpRequest, which tells how much was sent. */
function put(file: File, progress: (share: number) => void, signal: AbortSignal): Promise<void> {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open("POST", `api/v1/uploads?title=${encodeURIComponent(file.name.slice(0, 200))}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    const value = token.get();
    if (value) request.setRequestHeader("Authorization", `Bearer ${value}`);
    request.upload.addEventListener("progress", (event) => progress(event.loaded / Math.max(1, event.total)));
    request.addEventListener("load", () => {
      if (request.status === 202) return done();
      try {
        fail(new Error(JSON.parse(request.responseText).error.message));
      } catch {
        fail(new Error(`the server answered ${request.status}`));
      }
    });
    request.addEventListener("error", () => fail(new Error("the file could not be sent")));
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

