/* From before the first paint on: the theme chosen here before, if there was one. Else the system's. */
(() => {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const choose = () => {
    let chosen = null;
    try {
      chosen = localStorage.getItem('theme');
    } catch {
      /* storage may be forbidden: the system's theme it is */
    }
    if (chosen !== 'light' && chosen !== 'dark') chosen = dark.matches ? 'dark' : 'light';
    document.documentElement.dataset.theme = chosen;
  };
  choose();
  dark.addEventListener('change', choose);
})();
