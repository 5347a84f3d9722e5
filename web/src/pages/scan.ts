// What a scan read, what it left out, and what it could not see.

import { get } from "../api";
import { card, h, outside, replace, table, whole } from "../dom";
import { bytes, count, time, words } from "../format";
import type { Context } from "../main";

interface Summary {
  scan: { title: string; judged_at: string | null; detector_id: string | null; detector_version: number | null };
  summary: {
    counts?: Record<string, number | boolean | Record<string, number>>;
    blind_spots?: string[];
    warnings?: string[];
    names?: { judged: number; by_verdict: Record<string, number> };
    taken_in?: { path: string; format: string | null; size_bytes: number }[];
    inputs?: { path: string; format: string | null; size_bytes: number; items: number; decoded: number; error: string | null }[];
    tables?: Record<string, { path: string; date: string }>;
    time_first?: string | null;
    time_last?: string | null;
    sightings?: number;
  };
}

export async function show({ rest, main, signal }: Context): Promise<void> {
  const { scan, summary } = await get<Summary>(`scans/${encodeURIComponent(rest)}`, signal);
  const counts = summary.counts ?? {};
  const kinds = ["skipped", "malformed", "records_left_out", "oddities"];
  const odd = kinds.flatMap((kind) => Object.entries((counts[kind] as Record<string, number>) ?? {}).map(([name, n]) => [words(kind), words(name), count(n)]));
  replace(main,
    h("div", { class: "title" }, h("h1", {}, outside(scan.title)),
      h("p", { class: "about" }, `Judged ${time(scan.judged_at)} UTC by ${scan.detector_id ?? "?"} version ${scan.detector_version ?? "?"} · seen ${time(summary.time_first)} … ${time(summary.time_last)}`)),
    h("div", { class: "grid" },
      card("What cannot be seen", null, summary.blind_spots?.length
        ? h("ul", {}, ...summary.blind_spots.map((one) => h("li", {}, one))) : h("p", {}, "Nothing is known to be hidden.")),
      card("Counts", null, h("dl", { class: "facts" },
        ...([["Items read", counts.items], ["Decoded", counts.decoded], ["Records", counts.records], ["Sightings", summary.sightings], ["Names judged", summary.names?.judged]] as [string, number][])
          .flatMap(([title, n]) => [h("dt", {}, title), h("dd", {}, count(n))]))),
      odd.length ? card("Left out, malformed, odd", null, table("Left out, malformed, odd", ["What", "Kind", ["Times", "number"]], odd)) : null,
      card("Tables", null, ...(summary.warnings ?? []).map((one) => h("p", { class: "blind" }, outside(one))), h("dl", { class: "facts" },
        ...Object.entries(summary.tables ?? {}).flatMap(([kind, one]) => [h("dt", {}, kind), h("dd", {}, outside(one.path, "break"), ` (${one.date})`)]))),
      whole(card("Taken in", "Captures and logs whose content is in this dataset.", summary.taken_in?.length
        ? table("Taken in", ["File", "Format", ["Size", "number"]],
            summary.taken_in.map((one) => [outside(one.path, "break"), one.format ?? "?", bytes(one.size_bytes)]), "tall")
        : h("p", {}, "It does not say from what it was made."),
        summary.inputs?.length ? h("details", {}, h("summary", {}, "Files of the dataset that were read"),
          table("Files of the dataset", ["File", "Format", ["Size", "number"], ["Items", "number"], "Trouble"],
            summary.inputs.map((one) => [outside(one.path, "break"), one.format ?? "?", bytes(one.size_bytes), count(one.items), outside(one.error ?? "none")]), "tall")) : null))));
}
