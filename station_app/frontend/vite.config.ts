// SPDX-License-Identifier: AGPL-3.0-or-later
// Builds the console's front end into station_app/static/dist; the server finds hashed names in the manifest.
import { defineConfig } from "vite";

export default defineConfig({
  base: "/static/",
  build: {
    outDir: "../static/dist",
    emptyOutDir: true,
    manifest: true,
    target: "es2023",
    // The content policy allows no data: scripts, and fonts we have none of: nothing is inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: ["src/main.ts", "src/live.ts"],
      // htmx's one eval is never reached: allowEval is off, and the content policy forbids it as well
      checks: { eval: false },
    },
  },
});
