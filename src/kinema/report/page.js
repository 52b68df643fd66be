// One button stops every playing clip (each becomes its current picture) and starts it again. Clips are stopped from
// the beginning for those who asked their system for less motion. Without scripts they simply play.
const button = document.querySelector("nav button");
const clips = [...document.querySelectorAll("img.clip")];
let playing = true;
function still(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/png");
}
async function play(wanted) {
  playing = wanted;
  button.textContent = playing ? "Pause clips" : "Play clips";
  for (const image of clips) {
    image.moving ??= image.src;
    await image.decode().catch(() => {});
    if (playing === wanted) image.src = wanted ? image.moving : still(image);
  }
}
if (button && clips.length) {
  button.hidden = false;
  button.addEventListener("click", () => play(!playing));
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) play(false);
}
