// Verifies requests with the library of Standard Webhooks and prints whether each is genuine.
"use strict";

const { createRequire } = require("node:module");
const { Webhook } = createRequire(process.cwd() + "/")("standardwebhooks");

const isGenuine = ({ secret, headers, body }) => {
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch {
    return false;
  }
};
console.log(JSON.stringify(process.argv.slice(2).map((text) => isGenuine(JSON.parse(text)))));
