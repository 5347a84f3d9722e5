// The world, for addresses by country. Loaded when a page has one: the shapes are 110 kB.

import { geoNaturalEarth1, geoStream } from "d3-geo";
import type { Feature, FeatureCollection, Position } from "geojson";
import { feature } from "topojson-client";
import codes from "i18n-iso-countries/codes.json";
import english from "i18n-iso-countries/langs/en.json";
import topology from "world-atlas/countries-110m.json";
import { echarts, figure, inks, tooltip } from "./charts";
import { shown } from "./dom";
import { count } from "./format";

const alpha2 = new Map((codes as string[][]).map(([two, , number]) => [number, two]));
const NAMES = english.countries as Record<string, string | string[]>;

export function countryName(code: string | null): string {
  if (code === null) return "country unknown";
  const name = NAMES[code];
  return name === undefined ? code : Array.isArray(name) ? name[0] : name;
}

/** The rings of a country on the plane, cut where the world is cut: nothing runs across the map. */
function flat(country: Feature): Position[][][] {
  const rings: Position[][][] = [];
  let ring: Position[] = [];
  geoStream(country, geoNaturalEarth1().stream({
    point: (x, y) => { ring.push([x, -y]); },
    lineStart: () => { ring = []; },
    lineEnd: () => { if (ring.length > 2) rings.push([[...ring, ring[0]]]); },
    polygonStart: () => undefined,
    polygonEnd: () => undefined,
  }));
  return rings;
}

function world(): FeatureCollection {
  const shapes = topology as any;
  const all = feature(shapes, shapes.objects.countries) as unknown as FeatureCollection;
  const kept = all.features.filter((one: Feature) => one.id !== "010"); // without Antarctica
  return {
    type: "FeatureCollection",
    features: kept.map((one: Feature) => {
      const code = alpha2.get(String(one.id)) ?? String(one.properties?.name);
      return { type: "Feature", geometry: { type: "MultiPolygon", coordinates: flat(one) }, properties: { name: code } };
    }),
  };
}

let registered = false;

export function worldMap(rows: { country: string | null; n: number }[], what: string): HTMLElement {
  if (!registered) {
    echarts.registerMap("world", world() as any);
    registered = true;
  }
  const known = rows.filter((row) => row.country !== null);
  const most = Math.max(1, ...known.map((row) => row.n));
  const top = known.slice(0, 5).map((row) => `${countryName(row.country)} ${row.n}`).join(", ");
  return figure(`World map: ${what} by country. Most: ${top || "none known"}.`, 260, () => {
    const colours = inks();
    return {
      tooltip: {
        ...tooltip(),
        formatter: (one: { name: string; value: number }) =>
          shown(`${countryName(one.name)}: ${Number.isNaN(one.value) ? 0 : count(one.value)}`),
      },
      visualMap: {
        min: 0, max: most, show: false,
        inRange: { color: [colours.line, colours.series[0]] },
      },
      series: [{
        type: "map", map: "world", roam: false, left: 0, right: 0, top: 0, bottom: 0,
        aspectScale: 1,
        itemStyle: { areaColor: colours.line, borderColor: colours.paper, borderWidth: 0.5 },
        emphasis: { label: { show: false }, itemStyle: { areaColor: colours.accent } },
        select: { disabled: true },
        data: known.map((row) => ({ name: row.country, value: row.n })),
      }],
    };
  });
}
