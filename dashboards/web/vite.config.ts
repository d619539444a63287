// Three files with fixed names, because the agent embeds them: dist/index.html, dist/app.js, dist/app.css.
// The output depends on the sources and the lock file alone, so that anybody can prove the checked-in copy.
import { defineConfig } from "vite";

// A bundle carries its dependencies' notices.
const notice = "/*! Snowshed workbench, MIT OR Apache-2.0. Contains uPlot 1.6.32, Copyright (c) Leon Sorokin, MIT licence. */";

export default defineConfig({
  base: "/",
  publicDir: false,
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: false,
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        inlineDynamicImports: true,
        banner: notice,
        entryFileNames: "app.js",
        assetFileNames: "app.[ext]",
      },
    },
  },
  server: { proxy: { "/api": "http://127.0.0.1:9470" } },
});
