// Tokens and the audit log, for admins.

import { get, send } from "../api";
import { card, h, outside, replace, table, whole } from "../dom";
import { moment, time } from "../format";
import type { Context } from "../main";
import { alertIn } from "../parts";

interface Token { id: number; name: string; role: string; made_at: string }
interface Entry { id: number; at: string; by: string; address: string; action: string; subject: string; detail: string }

export async function show({ main, signal }: Context): Promise<void> {
  const list = h("div", {});
  const made = h("p", { role: "status" });
  const refresh = async (): Promise<void> => {
    const { tokens } = await get<{ tokens: Token[] }>("tokens", signal);
    replace(list, tokens.length ? table("Tokens", ["Name", "Role", "Made", ""], tokens.map((one) => [outside(one.name), one.role, time(one.made_at),
      h("button", { type: "button", class: "quiet", "aria-label": `Revoke ${one.name}`, onClick: async () => {
        try {
          await send("DELETE", `tokens/${one.id}`);
          await Promise.all([refresh(), readLog()]);
        } catch (error) {
          alertIn(list, error);
        }
      } }, "Revoke")])) : h("p", {}, "None were made here; those of the token file are not listed."));
  };
  const name = h("input", { id: "token-name", required: true, pattern: "[A-Za-z0-9._@\\-]{1,64}", autocomplete: "off" });
  const role = h("select", { id: "token-role" }, ...["read", "triage", "admin"].map((one) => h("option", {}, one)));
  const form = h("form", { onSubmit: async (event: Event) => {
    event.preventDefault();
    try {
      const one = await send<Token & { token: string }>("POST", "tokens", { name: name.value, role: role.value });
      replace(made, `Token of ${one.name}, shown this once: `, h("code", { class: "break" }, one.token));
      form.reset();
      await Promise.all([refresh(), readLog()]);
    } catch (error) {
      alertIn(form, error);
    }
  } }, h("label", { for: "token-name" }, "Name"), name, h("label", { for: "token-role" }, "Role"), h("span", { class: "field" }, role, h("button", { type: "submit" }, "Make a token")));
  const log = h("div", {});
  const readLog = async (): Promise<void> => {
    const { entries } = await get<{ entries: Entry[] }>("audit?size=200", signal);
    replace(log, entries.length ? table("Audit log", ["Time", "Who", "From", "What", "On", "Detail"],
      entries.map((one) => [moment(one.at), outside(one.by), outside(one.address), one.action, outside(one.subject, "break"), outside(one.detail, "break")]), "tall") : h("p", {}, "Nothing was done yet."));
  };
  await Promise.all([refresh(), readLog()]);
  replace(main, h("div", { class: "title" }, h("h1", {}, "Access")), h("div", { class: "grid" }, card("Tokens", "Each may what the roles before may: read, triage, admin.", list), card("New token", null, form, made),
    whole(card("Audit log", "The newest 200 first, times in UTC; all of it by the API.", log))));
}
