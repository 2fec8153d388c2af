export default { test: { include: ["conformance.test.js"] } };
