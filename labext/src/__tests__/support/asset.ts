/** Stands for every stylesheet and icon file: what they hold is no matter to a unit test. */
export default '<svg xmlns="http://www.w3.org/2000/svg"></svg>';
