// node:http leaves decoding to the program.

import { get } from "node:http";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";

get(process.argv[2], { headers: { "Accept-Encoding": "gzip" } }, async (response) => {
  if (response.headers["content-encoding"] !== "gzip") throw new Error("it is not compressed");
  await pipeline(response, createGunzip(), process.stdout);
});
