// Many concurrent calls and a stream of records while the server is killed: arguments are its address and how many.
import assert from "node:assert/strict";
import { Batcher, Tollgate } from "../dist/index.js";

const calls = Number(process.argv[3]);
const gate = new Tollgate({ url: process.argv[2], patienceMs: 120_000 });
await gate.setPlan("acme", "pro");
await gate.setPlan("globex", "pro");

let next = 0;
let done = 0;
const worker = async () => {
  while (next < calls) {
    const decision = await gate.use("acme", "api_call", { key: `call-${next++}` });
    assert.ok(decision.allowed);
    done += 1;
    if (done % (calls / 10) === 0) console.log("progress");
  }
};
const records = async () => {
  const batcher = new Batcher(gate, { batchMax: 50 });
  for (let number = 0; number < calls; number += 1) await batcher.add({ org: "globex", meter: "api_call" });
  await batcher.flush();
  assert.deepEqual(batcher.rejected, []);
  assert.equal(batcher.counted + batcher.duplicates, calls);
};
await Promise.all([records(), ...Array.from({ length: 64 }, worker)]);
console.log("done");
