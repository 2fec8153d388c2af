// Some tests make 100,000 assertions, which take longer than five seconds on a busy machine.
export default { test: { include: ["conformance.test.js"], testTimeout: 20_000 } };
