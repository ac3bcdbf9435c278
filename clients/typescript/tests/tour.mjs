// The tour of the README in JavaScript, then the batcher and the middleware, against a server whose address is the argument.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { ApiError, Batcher, DeniedError, Tollgate, express } from "../dist/index.js";

const gate = new Tollgate({ url: process.argv[2] });

await gate.setPlan("acme", "lite");
const first = await gate.use("acme", "reports", { user: "ada", key: "report-1" });
assert.ok(first.allowed && first.remaining === 19 && !first.replayed);
const again = await gate.use("acme", "reports", { user: "ada", key: "report-1" });
assert.ok(again.allowed && again.replayed && again.remaining === 19);

await gate.request("PUT", "/v1/orgs/acme/limits", { meter: "reports", scope: "user", amount: 15 });
const denied = await gate.use("acme", "reports", { quantity: 15, user: "ada", key: "report-2" });
assert.ok(!denied.allowed && denied.status === 403 && denied.code === "user_limit_reached");
assert.equal(denied.limit?.remaining, 14);

assert.ok((await gate.use("acme", "reports", { quantity: 14, user: "ada" })).allowed);
const order = { quantity: 10, user: "ben", key: "report-4" };
await assert.rejects(gate.require("acme", "reports", order), (error) => {
  assert.ok(error instanceof DeniedError);
  assert.deepEqual([error.denied.status, error.denied.code], [402, "org_limit_reached"]);
  return true;
});
await gate.topUp("acme", "reports", 25, { key: "goodwill-1" });
assert.equal((await gate.require("acme", "reports", order)).remaining, 20);
assert.equal((await gate.check("acme", "reports", { quantity: 6, user: "ben" })).allowed, false);
await gate.reverse("acme", "report-4");
assert.equal((await gate.balance("acme")).meters.reports.remaining, 30);
await assert.rejects(gate.use("acme", "reports", { quantity: 1.5 }), TypeError);

const left = async () => (await gate.balance("acme")).meters.reports.remaining;
await gate.withHold("acme", "reports", 10, { user: "cal", key: "run-1" }, async (held) => {
  assert.equal(await left(), 20);
  await gate.withHold("acme", "reports", 4, { user: "cal", key: "run-1/a", within: held.id }, async (step) => {
    await step.capture(1, { final: false });
    await step.capture(2);
  });
  await assert.rejects(held.capture(11), (error) => error instanceof ApiError && error.code === "more_than_held");
  assert.equal((await held.capture(3)).hold.state, "captured");
});
assert.equal(await left(), 24);
await gate.withHold("acme", "reports", 9, { user: "cal" }, async (held) => {
  const open = await gate.call("list_holds", { org: "acme", limit: 10 });
  assert.deepEqual(open.holds.map((item) => item.hold), [held.id]);
});
assert.equal(await left(), 24, "what was not captured is given back");
await assert.rejects(gate.hold("acme", "reports", 20, { user: "cal" }), (error) => {
  assert.equal(error.denied.code, "user_limit_reached");
  return true;
});
assert.throws(() => gate.call("list_holds", {}), TypeError);

const { catalog } = await gate.call("get_catalog", {});
catalog.meters.push({ id: "usd", name: "US dollars", unit: "USD" });
catalog.plans.push({ id: "calls", name: "Calls", allowances: [{ meter: "usd", amount: 1 }] });
catalog.models = [{ id: "small", rates: [{ input: 1, output: 2 }] }];
await gate.call("put_catalog", {}, catalog);
await gate.setPlan("initech", "calls");
const cost = { model: "small", input_tokens: 1_000, output_tokens: 500 };
await gate.withHold("initech", "usd", { ...cost, output_tokens: 100_000 }, {}, async (held) => {
  assert.equal(held.item.quantity, 0.201);
  assert.equal((await held.capture(cost)).captured, 0.002);
});
assert.equal((await gate.require("initech", "usd", { quantity: cost })).quantity, 0.002);

const batcher = new Batcher(gate, { batchMax: 10 });
for (let number = 0; number < 25; number += 1) await batcher.add({ org: "acme", meter: "reports", key: `late-${number}` });
await batcher.add({ org: "acme", meter: "reports", key: "late-0" });
await batcher.add({ org: "acme", meter: "repots", key: "wrong" });
await batcher.flush();
assert.deepEqual([batcher.counted, batcher.duplicates], [25, 1]);
assert.deepEqual(batcher.rejected.map((rejection) => rejection.code), ["unknown_meter"]);

await gate.setPlan("globex", "trial");
const identify = (request) => (request.headers["x-org"] ? { org: request.headers["x-org"] } : undefined);
const middleware = express({ client: gate, meter: "reports", identify });
const server = createServer((request, response) => {
  void middleware(request, response, (error) => {
    response.statusCode = error || request.url === "/broken" ? 500 : 200;
    response.end("worked");
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const page = (path, headers) => fetch(`http://127.0.0.1:${server.address().port}${path}`, { headers });
const used = async () => (await gate.balance("globex")).meters.reports.used;
assert.equal(await (await page("/", {})).text(), "worked");
for (let number = 0; number < 3; number += 1) {
  assert.equal((await page("/", { "x-org": "globex", "idempotency-key": "page-1" })).status, 200);
}
assert.equal(await used(), 1);
assert.equal((await page("/broken", { "x-org": "globex" })).status, 500);
// It is taken back once the answer is out.
for (let tries = 0; (await used()) !== 1; tries += 1) assert.ok(tries < 1_000, "what failed is taken back");
for (let number = 0; number < 9; number += 1) assert.equal((await page("/", { "x-org": "globex" })).status, 200);
const refused = await page("/", { "x-org": "globex" });
assert.equal(refused.status, 402);
assert.equal(refused.headers.get("content-type"), "application/problem+json");
assert.equal((await refused.json()).code, "trial_ended");
server.closeAllConnections();
server.close();
console.log("done");
