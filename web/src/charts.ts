// ECharts with only what is used. Everything is drawn on canvas: tooltips too (richText), so that no
// text of strangers ever becomes HTML.

import { BarChart, CustomChart, GraphChart, LineChart, MapChart } from "echarts/charts";
import {
  AriaComponent,
  GridComponent,
  LegendComponent,
  MarkAreaComponent,
  MarkLineComponent,
  TooltipComponent,
  VisualMapComponent,
} from "echarts/components";
import * as echarts from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import type { EChartsCoreOption } from "echarts/core";
import { h, shown, type Child } from "./dom";
import { count, seconds, time } from "./format";
import { onTheme } from "./redraw";
import type { Strip } from "./api";

echarts.use([
  BarChart, CustomChart, GraphChart, LineChart, MapChart,
  AriaComponent, GridComponent, LegendComponent, MarkAreaComponent, MarkLineComponent,
  TooltipComponent, VisualMapComponent, CanvasRenderer,
]);

export { echarts };

export interface Inks {
  ink: string;
  muted: string;
  line: string;
  paper: string;
  accent: string;
  series: string[];
}

/** Colours of the style sheet, as they are now (light or dark). */
export function inks(): Inks {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string): string => style.getPropertyValue(name).trim();
  return {
    ink: of("--ink"),
    muted: of("--muted"),
    line: of("--line"),
    paper: of("--card"),
    accent: of("--accent"),
    series: Array.from({ length: 10 }, (_, at) => of(`--s${at}`)),
  };
}

export const tooltip = (): object => ({
  renderMode: "richText",
  confine: true,
  backgroundColor: inks().paper,
  borderColor: inks().line,
  textStyle: { color: inks().ink, fontSize: 12 },
});

export const axis = (more: object = {}): object => {
  const { muted, line } = inks();
  return {
    axisLine: { lineStyle: { color: line } },
    axisTick: { show: false },
    axisLabel: { color: muted, fontSize: 11 },
    nameTextStyle: { color: muted },
    splitLine: { lineStyle: { color: line, opacity: 0.6 } },
    ...more,
  };
};

/** A figure with a chart of a height, a text that says what is in it, and what stands below. */
export function figure(
  label: string,
  height: number,
  options: (width: number) => EChartsCoreOption,
  ...below: Child[]
): HTMLElement {
  const area = h("div", { class: "chart", role: "img", "aria-label": shown(label) });
  area.style.height = `${height}px`;
  const element = h("figure", {}, area, ...below);
  let chart: echarts.ECharts | null = null;
  const draw = (): void => {
    if (!area.clientWidth) return;
    chart ??= echarts.init(area, undefined, { renderer: "canvas" });
    chart.setOption({ animation: false, useUTC: true, textStyle: { fontFamily: getComputedStyle(document.body).fontFamily }, ...options(area.clientWidth) }, true);
  };
  const observer = new ResizeObserver(() => {
    if (!area.isConnected) {
      observer.disconnect();
      chart?.dispose();
      return;
    }
    if (!area.clientWidth) return; // on its way out: some charts cannot be drawn on nothing
    if (chart) chart.resize();
    else draw();
  });
  observer.observe(area);
  onTheme(draw);
  return element;
}

/** Where a day begins, the date is more than its bare day. */
const TIMES = { day: "{MM}-{dd}", month: "{yyyy}-{MM}" };
const ROW_HEIGHT = 9;

/** Which address answered when: a row an address, coloured by origin AS; lines from first to last. */
export function strip(which: Strip, what: string): HTMLElement {
  const bins = which.bins!;
  const start = Date.parse(bins.start);
  const at = (bin: number): number => start + bin * bins.size_s * 1000;
  const byAs = new Map<number | null, number>();
  for (const row of which.rows) byAs.set(row.origin_asn, (byAs.get(row.origin_asn) ?? 0) + 1);
  const top = [...byAs].sort((a, b) => b[1] - a[1]).slice(0, 9).map(([asn]) => asn);
  const most = Math.max(1, ...which.rows.flatMap((row) => row.cells.map(([, n]) => n)));
  const cells = which.rows.flatMap((row, y) => row.cells.map(([bin, n]) => [at(bin), y, n, bin]));
  const spans = which.rows.map((row, y) => [Date.parse(row.first_seen), y, Date.parse(row.last_seen)]);
  const options = (): EChartsCoreOption => {
    const colours = inks();
    const colour = (y: number): string => {
      const place = top.indexOf(which.rows[y].origin_asn);
      return place < 0 ? colours.series[9] : colours.series[place];
    };
    return {
      grid: { left: 116, right: 14, top: 6, bottom: 26 },
      tooltip: {
        ...tooltip(),
        formatter: (one: { data: number[]; seriesIndex: number }) => {
          const row = which.rows[one.data[1]];
          const asn = row.origin_asn === null ? "AS unknown" : `AS${row.origin_asn}`;
          const when = one.seriesIndex === 1
            ? `${time(new Date(one.data[0]).toISOString())}: ${count(one.data[2])} fresh`
            : `${time(row.first_seen)} … ${time(row.last_seen)}`;
          return shown(`${row.address}  ${row.country ?? ""}\n${asn} ${row.organisation ?? ""}\n${when}`);
        },
      },
      xAxis: axis({
        type: "time", min: at(0), max: at(bins.count), splitLine: { show: false },
        axisLabel: { color: colours.muted, fontSize: 11, hideOverlap: true, formatter: TIMES },
      }),
      yAxis: axis({
        type: "category", inverse: true, data: which.rows.map((row) => row.address),
        axisLabel: { color: colours.muted, fontSize: 8.5, fontFamily: "monospace", interval: 0,
          formatter: (text: string) => (text.length > 19 ? `${text.slice(0, 18)}…` : text) },
      }),
      series: [
        {
          type: "custom", data: spans, encode: { x: [0, 2], y: 1 }, silent: false,
          renderItem: (_: unknown, api: any) => {
            const [x0, y] = api.coord([api.value(0), api.value(1)]);
            const [x1] = api.coord([api.value(2), api.value(1)]);
            return {
              type: "rect", shape: { x: x0, y: y - 1, width: Math.max(1, x1 - x0), height: 2 },
              style: { fill: colour(api.value(1)), opacity: 0.28 },
            };
          },
        },
        {
          type: "custom", data: cells, encode: { x: 0, y: 1 },
          renderItem: (_: unknown, api: any) => {
            const [x0, y] = api.coord([api.value(0), api.value(1)]);
            const [x1] = api.coord([api.value(0) + bins.size_s * 1000, api.value(1)]);
            return {
              type: "rect",
              shape: { x: x0, y: y - ROW_HEIGHT / 2 + 1, width: Math.max(2, x1 - x0 - 0.5), height: ROW_HEIGHT - 2 },
              style: { fill: colour(api.value(1)), opacity: 0.55 + 0.45 * (api.value(2) / most) },
            };
          },
        },
      ],
    };
  };
  const label = `${what}: ${which.n_addresses} addresses over ${seconds(bins.size_s * bins.count)}, ` +
    `in columns of ${seconds(bins.size_s)}; each row is an address in order of first sight, ` +
    `marked where it was answered afresh. The table below has the same.`;
  return figure(label, Math.max(90, which.rows.length * ROW_HEIGHT + 36), options);
}

interface Point {
  time: string;
}

/** The next number with one digit and zeros, or half of one: the end of an axis. */
function roundUp(n: number): number {
  const step = 10 ** Math.floor(Math.log10(Math.max(1, n))) / 2;
  return Math.ceil(n / step) * step;
}

export function lines<T extends Point>(
  label: string,
  points: T[],
  series: { name: string; of: (point: T) => number; step?: "end" | false; area?: boolean }[],
  more: { unit: string; band?: { from: number; to: number; at: number; name: string } | null; height?: number },
): HTMLElement {
  const options = (): EChartsCoreOption => {
    const colours = inks();
    const band = more.band;
    return {
      color: colours.series,
      grid: { left: 52, right: 16, top: series.length > 1 || band ? 30 : 12, bottom: 26 },
      legend: series.length > 1
        ? { top: 0, right: 0, textStyle: { color: colours.muted, fontSize: 11 }, icon: "circle", itemWidth: 9, itemHeight: 9 }
        : undefined,
      tooltip: {
        ...tooltip(),
        trigger: "axis",
        formatter: (all: { seriesName: string; value: [number, number] }[]) =>
          [time(new Date(all[0].value[0]).toISOString()), ...all.map((one) => `${one.seriesName}: ${count(one.value[1])} ${more.unit}`)].join("\n"),
      },
      xAxis: axis({ type: "time", splitLine: { show: false }, axisLabel: { color: colours.muted, fontSize: 11, hideOverlap: true, formatter: TIMES } }),
      yAxis: axis({ type: "value", min: 0, minInterval: 1, max: band ? roundUp(band.to) : undefined }),
      series: series.map((one, place) => ({
        type: "line", name: one.name, step: one.step ?? false, showSymbol: points.length < 3, symbolSize: 5,
        lineStyle: { width: 2 }, areaStyle: one.area ? { opacity: 0.12 } : undefined,
        data: points.map((point) => [Date.parse(point.time), one.of(point)]),
        markArea: band && place === 0
          ? { silent: true, itemStyle: { color: colours.series[1], opacity: 0.14 }, data: [[{ yAxis: band.from }, { yAxis: band.to }]] }
          : undefined,
        markLine: band && place === 0
          ? { silent: true, symbol: "none", lineStyle: { color: colours.series[1], type: "dashed" },
              label: { formatter: band.name, color: colours.ink, position: "insideStartTop", fontSize: 11 },
              data: [{ yAxis: band.at }] }
          : undefined,
      })),
    };
  };
  return figure(label, more.height ?? 220, options);
}

export function bars(label: string, rows: { name: string; n: number }[], unit: string): HTMLElement {
  const options = (width: number): EChartsCoreOption => {
    const colours = inks();
    const left = Math.min(250, width * 0.45);
    return {
      color: colours.series,
      grid: { left, right: 40, top: 4, bottom: 6 },
      tooltip: { ...tooltip(), formatter: (one: { name: string; value: number }) => shown(`${one.name}: ${count(one.value)} ${unit}`) },
      xAxis: axis({ type: "value", show: false }),
      yAxis: axis({
        type: "category", inverse: true, data: rows.map((row) => shown(row.name)),
        axisLabel: { color: colours.ink, fontSize: 11, width: left - 14, overflow: "truncate" },
        axisLine: { show: false },
      }),
      series: [{
        type: "bar", data: rows.map((row) => row.n), barMaxWidth: 14,
        itemStyle: { borderRadius: [0, 3, 3, 0] },
        label: { show: true, position: "right", color: colours.muted, fontSize: 11 },
      }],
    };
  };
  return figure(label, rows.length * 22 + 14, options);
}
