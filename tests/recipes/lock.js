// Renews tests/recipes/locks: installs the newest packages that those of the pages need. node tests/recipes/lock.js [page…]

import { backend, clients, servers } from "./pages.js";
import { Recipe } from "./recipe.js";

// rails-turbo.md has the packages of Debian, and spring.md a parent that names all versions.
const all = [...servers, "nextjs.md", ...clients];
for (const page of process.argv.length > 2 ? process.argv.slice(2) : all) {
  const recipe = await Recipe.read(page, clients.includes(page) ? backend : undefined);
  await recipe.install({ renew: true });
}
