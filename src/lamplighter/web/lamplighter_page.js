export { default } from "lamplighter/assets/app.js";
