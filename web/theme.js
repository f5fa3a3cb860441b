// The chosen theme, set before the first paint; a classic script because modules run after it.
try {
  document.documentElement.dataset.theme = localStorage.getItem("watcher-theme") ?? "system";
} catch {
  document.documentElement.dataset.theme = "system"; // storage is switched off
}
