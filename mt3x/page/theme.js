// Sets the chosen theme before anything is drawn; without a choice, the system's.
{
  const chosen = localStorage.getItem("mt3x-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
}
