// Numbers and times as people read them; all times are UTC.

const NUMBER = new Intl.NumberFormat("en");

export const count = (n: number | null | undefined): string =>
  n === null || n === undefined ? "?" : NUMBER.format(n);

export const percent = (share: number): string => `${Math.round(share * 100)} %`;

export function time(iso: string | null | undefined): string {
  return iso ? `${iso.slice(0, 10)} ${iso.slice(11, 16)}` : "–";
}

/** To the second. */
export const moment = (iso: string | null | undefined): string => (iso ? `${iso.slice(0, 10)} ${iso.slice(11, 19)}` : "–");

export function seconds(s: number | null | undefined): string {
  if (s === null || s === undefined) return "?";
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 360) / 10} h`;
  return `${Math.round(s / 8640) / 10} d`;
}

export function bytes(n: number): string {
  if (n < 1024) return `${n} B`;
  if (n < 1 << 20) return `${Math.round(n / 102.4) / 10} KiB`;
  if (n < 1 << 30) return `${Math.round(n / 104_857.6) / 10} MiB`;
  return `${Math.round(n / 107_374_182.4) / 10} GiB`;
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

export const words = (id: string): string => id.replaceAll("_", " ");
