// The tour of the README through a client that is typed by the OpenAPI document.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Problem = components["schemas"]["Problem"];

const url = process.argv[2] ?? "";
const client = createClient<paths>({ baseUrl: url });

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

/** What a call answered, or an error with the problem it told. */
function done<T>(result: { data?: T; error?: Problem }, what: string): T {
  if (result.data === undefined) throw new Error(`${what}: ${JSON.stringify(result.error)}`);
  return result.data;
}

const acme = { params: { path: { org: "acme" } } };

const plan = done(await client.PUT("/v1/orgs/{org}/plan", { ...acme, body: { plan: "lite" } }), "plan");
check(plan.changed, "the plan is set");

const report = { org: "acme", user: "ada", meter: "reports", key: "report-1" };
const used = done(await client.POST("/v1/usage", { body: report }), "use");
check(used.allowed && !used.replayed && used.remaining === 19, "one of twenty is used");
const again = done(await client.POST("/v1/usage", { body: report }), "replay");
check(again.replayed && again.entry === used.entry, "the same key counts once");

const limit = { meter: "reports", scope: "user", amount: 15 } as const;
const limits = done(await client.PUT("/v1/orgs/{org}/limits", { ...acme, body: limit }), "limit");
check(limits.limits[0]?.amount === 15, "the limit is in force");

const denied = await client.POST("/v1/usage", { body: { ...report, quantity: 15, key: "report-2" } });
const problem: Problem | undefined = denied.error;
check(problem?.code === "user_limit_reached" && problem.limit?.user === "ada", "the limit of the user decides");
done(await client.POST("/v1/usage", { body: { ...report, quantity: "14", key: "report-3" } }), "use");
const out = await client.POST("/v1/usage", { body: { ...report, user: "ben", quantity: 10, key: "report-4" } });
check(out.response.status === 402 && out.error?.allowed === false && out.error.remaining === 5, "out of credit");

const topUp = { meter: "reports", amount: 25, key: "goodwill-1" };
const added = done(await client.POST("/v1/orgs/{org}/top-ups", { ...acme, body: topUp }), "top-up");
check(added.total === 45, "there are 45");
const tried = { ...report, user: "ben", quantity: 10, key: "report-4" };
const checked = done(await client.POST("/v1/usage/check", { body: tried }), "check");
check(checked.allowed && checked.steps.every((step) => step.passed), "it would be allowed");
done(await client.POST("/v1/usage", { body: tried }), "use");

const balance = done(await client.GET("/v1/orgs/{org}/balance", acme), "balance");
check(balance.meters["reports"]?.used === 25 && balance.meters["reports"].remaining === 20, "25 of 45 are used");
const ledger = done(await client.GET("/v1/orgs/{org}/ledger", acme), "ledger");
check(ledger.entries[0]?.kind === "used" && ledger.entries[0].quantity === 10, "the ledger tells it");

const reversed = done(await client.POST("/v1/usage/reversals", { body: { org: "acme", key: "report-4" } }), "reverse");
check(reversed.reversed, "it is taken back");
const batch = [{ org: "acme", user: "ada", meter: "reports", quantity: 2.5, key: "late-1" }, { ...report }];
const recorded = done(await client.POST("/v1/usage/batch", { body: batch }), "batch");
check(recorded.counted === 1 && recorded.duplicates === 1 && recorded.rejected === 0, "one is new");
const bill = done(await client.GET("/v1/orgs/{org}/bill", acme), "bill");
check(typeof bill !== "string" && bill.status === "estimate" && typeof bill.total === "string", "money is text");

const wrong = await client.GET("/v1/orgs/{org}/balance", { params: { path: { org: "nobody" } } });
check(wrong.error?.code === "unknown_org", "problems have codes");
console.log("done");
