// The API as types, one function a call. Errors become ApiError with the server's sentence.

const TOKEN = "unflux-token";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    message: string,
    readonly position: number | null = null,
  ) {
    super(message);
  }
}

export const token = {
  get: (): string | null => sessionStorage.getItem(TOKEN),
  set: (value: string): void => sessionStorage.setItem(TOKEN, value),
  clear: (): void => sessionStorage.removeItem(TOKEN),
};

export function headers(): Record<string, string> {
  const value = token.get();
  return value ? { Authorization: `Bearer ${value}` } : {};
}

export async function failure(response: Response): Promise<ApiError> {
  try {
    const { error } = await response.json();
    return new ApiError(response.status, error.kind, error.message, error.position ?? null);
  } catch {
    return new ApiError(response.status, "error", `the server answered ${response.status}`);
  }
}

export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(`api/v1/${path}`, {
      ...init,
      headers: { ...headers(), ...(init.headers as Record<string, string> | undefined) },
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "the server does not answer; is unflux serve running?");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await ask(path, { signal })).json()) as T;
}

export async function send<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await ask(path, {
    method,
    body: body === undefined ? undefined : JSON.stringify(body),
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
  });
  return (response.status === 204 ? null : await response.json()) as T;
}

/** A file from the server, saved by the browser: a link alone could not carry the token. */
/** Saves what is answered; gives the sentences that the server has to say of it. */
export async function download(path: string, fallback: string): Promise<string[]> {
  const response = await ask(path);
  const said = response.headers.get("Content-Disposition") ?? "";
  const name = /filename="([\w.-]+)"/.exec(said)?.[1] ?? fallback;
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return JSON.parse(response.headers.get("Unflux-Told") ?? "[]") as string[];
}

export type State = "new" | "watching" | "confirmed" | "benign";
export const STATES: State[] = ["new", "watching", "confirmed", "benign"];

export interface Me {
  name: string;
  role: "read" | "triage" | "admin";
  version: string;
  live: boolean;
  lab: boolean;
  features: string[];
  upload_limit_bytes: number;
  exports: Record<string, string>;
}

export interface Row {
  name: string;
  verdict: string;
  score: number;
  confidence: string;
  n_addresses: number;
  n_asns: number | null;
  n_countries: number | null;
  ttl_max_s: number | null;
  n_clients: number;
  first_seen: string | null;
  last_seen: string | null;
  why: string;
  triage: State;
  n_notes: number;
}

export interface Findings {
  scan: string | null;
  page: number;
  size: number;
  pages: number;
  total: number;
  by_verdict: Record<string, number>;
  findings: Row[];
}

export interface Scan {
  id: string;
  kind: string;
  title: string;
  detector_id: string | null;
  detector_version: number | null;
  judged_at: string | null;
}

export interface Note {
  id: number;
  text: string;
  by: string;
  at: string;
}

export interface Agent {
  address: string;
  evidence: string;
  origin_asn: number | null;
  organisation: string | null;
  country: string | null;
  first_seen: string;
  last_seen: string;
  count: number;
}

export interface Finding {
  name: string;
  verdict: string;
  score: number;
  confidence: string;
  reasons: { feature: string; value: number | null; says: string; weight: number }[];
  benign_explanations: { name: string; match: boolean; says: string }[];
  blind_spots: string[];
  agents: Agent[];
  clients: string[];
  n_clients: number;
  first_seen: string | null;
  last_seen: string | null;
  registered_domain: string | null;
  zone: string | null;
  n_addresses: number;
  n_asns: number | null;
  n_countries: number | null;
  ttl_max_s: number | null;
  detector: { id: string; version: number };
}

export interface NameInfo {
  scan: string;
  finding: Finding;
  triage: State;
  notes: Note[];
}

export interface StripRow {
  address: string;
  origin_asn: number | null;
  organisation: string | null;
  country: string | null;
  first_seen: string;
  last_seen: string;
  fresh: number;
  cells: [number, number][];
}

export interface Strip {
  bins: { start: string; size_s: number; count: number } | null;
  rows: StripRow[];
  n_addresses: number;
}

export interface History {
  name: string;
  zone: string | null;
  aliases: string[];
  strip: Strip;
  ns_strip: Strip;
  ttl: { time: string; min_s: number; max_s: number }[];
  ns_ttl: { time: string; min_s: number; max_s: number }[];
  name_servers: { host: string; first_seen: string; last_seen: string; n_addresses: number }[];
  accumulation: { time: string; distinct: number }[];
  pool: { estimate: number; low: number; high: number; observed: number; once: number } | null;
  spread: {
    ases: { origin_asn: number | null; organisation: string | null; n: number }[];
    n_ases: number;
    countries: { country: string | null; n: number }[];
  };
  sharing: { name: string; n: number; verdict: string | null; alias: boolean }[];
  activity: { bucket: string; responses: number; failures: number; n_clients: number }[];
  cut: boolean;
}

export interface Sightings {
  page: number;
  size: number;
  total: number;
  sightings: Record<string, string | number | null>[];
}

export interface Upload {
  id: string;
  title: string;
  state: string;
  made_at: string;
  size_bytes: number;
  done_bytes: number;
  names: number | null;
  error: string | null;
}

export const inPath = (name: string): string => encodeURIComponent(name);
