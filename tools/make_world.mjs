// Outlines of countries for pictures: node tools/make_world.mjs, after `npm ci` in web/.
// Writes src/unflux/share/world.json: ISO 3166 code → SVG path on a plane of WIDTH units, in
// whole units, by Natural Earth's projection; and the middle of countries too small for an outline.
// Data: Natural Earth, through world-atlas (see NOTICE).

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const need = createRequire(new URL("../web/package.json", import.meta.url));
const { geoCentroid, geoNaturalEarth1, geoStream } = await import(need.resolve("d3-geo"));
const { feature } = await import(need.resolve("topojson-client"));
const countriesOf = (file) => {
  const topology = JSON.parse(readFileSync(need.resolve(`world-atlas/${file}`)));
  return feature(topology, topology.objects.countries).features.filter((one) => one.id !== "010"); // Antarctica
};
const codes = new Map(JSON.parse(readFileSync(need.resolve("i18n-iso-countries/codes.json"))).map(([two, , number]) => [number, two]));
const WIDTH = 1000;

const countries = countriesOf("countries-110m.json");
const projection = geoNaturalEarth1().fitWidth(WIDTH, { type: "FeatureCollection", features: countries });
const paths = {};
let height = 0;
for (const country of countries) {
  const rings = [];
  let ring = [];
  geoStream(country, projection.stream({
    point: (x, y) => { ring.push([Math.round(x), Math.round(y)]); height = Math.max(height, Math.round(y)); },
    lineStart: () => { ring = []; },
    lineEnd: () => { rings.push(ring); },
    polygonStart: () => undefined,
    polygonEnd: () => undefined,
  }));
  const drawn = rings
    .map((points) => points.filter((point, at) => at === 0 || point.join() !== points[at - 1].join()))
    .filter((points) => points.length > 2)
    .map((points) => "M" + points.map((point) => point.join(" ")).join("L") + "Z");
  const code = codes.get(String(country.id)) ?? "";
  if (drawn.length) paths[code] = (paths[code] ?? "") + drawn.join("");
}
const points = {};
for (const country of countriesOf("countries-50m.json")) {
  const code = codes.get(String(country.id));
  if (code && !(code in paths)) points[code] = projection(geoCentroid(country)).map(Math.round);
}
const sorted = (of) => Object.fromEntries(Object.entries(of).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(new URL("../src/unflux/share/world.json", import.meta.url), JSON.stringify({ width: WIDTH, height, paths: sorted(paths), points: sorted(points) }).replaceAll('","', '",\n"') + "\n");
