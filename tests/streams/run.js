// Runs the conformance suite.
//
//   node run.js                    against two nodes on one Redis behind nginx
//   node run.js memory http2 10    the ways of ways.js, each ten times in a row

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ways } from "./ways.js";

const words = process.argv.slice(2);
const times = Number(words.find((word) => /^\d+$/.test(word)) ?? 1);
const chosen = words.filter((word) => word in ways);
let failed = 0;

/** What a test of the suite says whose connection was cut, and whose own requests do not retry. */
const cut = /fetch failed|other side closed|terminated|ECONNRE|expected 50[23] to/;

/** Whether each test passed, or only failed since its connection was cut. */
async function passedButForCuts(file) {
  const { testResults, numPassedTests } = JSON.parse(await readFile(file, "utf8"));
  const failures = testResults.flatMap((one) => one.assertionResults).filter((one) => one.status === "failed");
  const wrong = failures.filter((one) => !cut.test(one.failureMessages.join("\n")));
  for (const { fullName, failureMessages } of failures) console.log(`${fullName}\n  ${failureMessages.join("\n").slice(0, 2000)}`);
  console.log(`${numPassedTests} passed, ${failures.length} failed, ${wrong.length} of them not because of a connection that was cut`);
  return wrong.length === 0 && numPassedTests > 300;
}

async function suite({ url, cuts }) {
  const dir = await mkdtemp(join(tmpdir(), "fanfare-suite-"));
  const report = join(dir, "report.json");
  // A client that comes back takes its time.
  const more = cuts ? ["--testTimeout=30000", "--reporter=json", `--outputFile=${report}`] : [];
  const child = spawn("npx", ["vitest", "run", "--reporter=dot", ...more], {
    cwd: import.meta.dirname,
    env: { ...process.env, STREAMS_URL: url },
    stdio: ["ignore", "inherit", "inherit"],
  });
  const [status] = await once(child, "exit");
  const passed = cuts ? await passedButForCuts(report) : status === 0;
  await rm(dir, { recursive: true, force: true });
  return passed;
}

for (const name of chosen.length ? chosen : ["nginx"]) {
  const way = await ways[name]();
  let passed = 0;
  try {
    for (let n = 0; n < times; n += 1) passed += await suite(way);
  } finally {
    await way.stop();
  }
  console.log(`${name}: ${passed} of ${times} runs passed`);
  failed += times - passed;
}
process.exitCode = failed ? 1 : 0;
