"""Common English nouns for random queries: things and places, and no animals, which is what people search for here."""

WORDS = tuple(
    """
acorn airport alley anchor apple apron arch armchair attic autumn axe backpack bakery balcony ball balloon bamboo
banana barn barrel basket bathtub battery beach bean bed bell belt bench bicycle blanket blossom boat bonfire book boot
bottle boulder bowl box bracelet branch bread brick bridge broom brush bucket building bus button cabbage cabin cable
cactus cafe cage cake camera camp canal candle canoe canyon cap car caravan card carpet carrot cart castle cathedral
cave ceiling chain chair chalk chapel cheese cherry chess chimney church cinema city classroom cliff clock cloud coast
coat coffee coin comb compass computer concert cookie corn corridor cottage cotton couch courtyard crane crayon crowd
crown cup cupboard curtain cushion dam dancer desert desk diamond dinner dish doctor doll dome door drawer dress drill
drum dune dust elevator engine envelope factory fair farm feather fence ferry festival field fire firework flag flame
flashlight flood floor flour flower flute fog footpath forest fork fountain frame fridge fruit furniture garage garden
gate glacier glass globe glove gold gondola grain grape grass greenhouse guitar hall hammer hammock harbour harp hat
hay headphones heater hedge helicopter helmet hill honey hoof hook hospital hotel house ice iron island ivy jacket jam
jar jewel jug jungle kettle key keyboard kitchen kite knife knot ladder lagoon lake lamp lantern laundry lava lawn leaf
lemon lens letter library lighthouse lightning lily lock log lorry luggage machine magazine magnet mailbox map maple
market mask mat meadow medal melon microphone microscope mill mine mirror mist moon mosque moss motorcycle mountain mud
museum mushroom mustard nail necklace needle nest net newspaper night notebook nut oak oar oasis oats ocean office oil
olive onion opera orange orchard orchestra oven paddle paint painting palace palm pan paper parachute parade park
passport pasta path pavement pea peach peak pear pebble pen pencil pepper perfume petal piano picnic pie pier pillar
pillow pine pipe pizza plain plane planet plant plate platform playground plough plum pond pool poppy port poster pot
potato pottery prison pumpkin puppet purse puzzle pyramid quarry quay quilt race radio raft railway rain rainbow raisin
ramp raspberry razor reef restaurant ribbon rice ring river road robot rock rocket roof room rope rose rug ruin ruler
sack saddle sail salad salt sand sandal sandwich saw scarf school scissors screw sculpture sea seashell seed shed shelf
ship shirt shoe shop shore shovel signpost silk silver sink skateboard ski skirt sky skyscraper sledge snow soap sock
sofa soup spaghetti spire spoon sport spring square stadium staircase stamp star station statue steam steel stone storm
stove straw strawberry stream street string submarine subway sugar suitcase summer sun sundial sunflower sunset surfer
swamp sweater swing sword synagogue table tank tea teapot telephone telescope temple tent terrace theatre thread throne
thunderstorm ticket tie tile toast tomato tool toothbrush torch towel tower town toy tractor traffic train tram tray
treasure tree trophy trousers truck trumpet tulip tunnel turbine tyre umbrella uniform university valley van vase
vegetable veil village vine vineyard violin volcano wagon wall wallet walnut wardrobe warehouse watch water waterfall
wave well wheat wheel wheelbarrow whistle willow wind windmill window wine winter wire wood wool workshop wreath wrench
yacht yard yarn zipper
""".split()
)
