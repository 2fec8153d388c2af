// Node's fetch (undici) decodes by itself.

const response = await fetch(process.argv[2]);
for await (const bytes of response.body) process.stdout.write(bytes);
