import { defineConfig } from "vite";

// Built into the package; everything is a file of its own, nothing inline: the CSP allows no other.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/unflux/web/ui",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1200,
  },
});
