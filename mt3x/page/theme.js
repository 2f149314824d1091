// Sets the theme before anything is drawn: the chosen one, or else the system's.
{
  const system = matchMedia("(prefers-color-scheme: dark)");
  const set = () => {
    const chosen = localStorage.getItem("mt3x-theme");
    document.documentElement.dataset.theme =
      chosen ?? (system.matches ? "dark" : "light");
  };
  system.addEventListener("change", set);
  set();
}
