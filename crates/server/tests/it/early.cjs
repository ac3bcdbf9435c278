// Sends requests one after the other over one HTTP/2 connection of Node's own client and prints their statuses.
"use strict";
const fs = require("node:fs");
const http2 = require("node:http2");

const [origin, certificate, times, ...cases] = process.argv.slice(2);
const session = http2.connect(origin, {ca: fs.readFileSync(certificate)});
session.on("error", (error) => { throw error; });

function send({path, key, type, bytes}) {
  return new Promise((done, failed) => {
    const stream = session.request({
      ":method": "POST", ":path": path, authorization: `Bearer ${key}`, "content-type": type, "content-length": bytes,
    });
    let status;
    stream.on("response", (headers) => { status = headers[":status"]; });
    stream.on("error", failed);
    stream.on("close", () => stream.rstCode === 0 ? done(status) : failed(new Error(`reset with ${stream.rstCode}`)));
    stream.resume();
    stream.end(Buffer.alloc(bytes, " "));
  });
}

(async () => {
  const statuses = [];
  for (const text of cases) {
    for (let time = 0; time < Number(times); time += 1) statuses.push(await send(JSON.parse(text)));
  }
  session.close();
  console.log(JSON.stringify(statuses));
})();
