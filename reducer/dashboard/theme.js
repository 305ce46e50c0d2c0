/* Before the first paint: the theme chosen here before, if there was one. Else the system's. */
(() => {
  try {
    const chosen = localStorage.getItem('theme');
    if (chosen === 'light' || chosen === 'dark') {
      document.documentElement.dataset.theme = chosen;
    }
  } catch {
    /* storage may be forbidden: the system's theme it is */
  }
})();
